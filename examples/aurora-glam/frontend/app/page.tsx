import Link from "next/link";
import { Highlights } from "./Highlights";

export default function Home() {
  return (
    <>
      <section className="hero">
        <p className="kicker">Salon &amp; colour studio</p>
        <h1>
          Come as you are.
          <br />
          <em>Leave lit up.</em>
        </h1>
        <p className="lead">
          Cuts that grow out well, colour that is painted by hand, and an hour in which nobody needs anything from you.
        </p>
        <p className="actions">
          <Link href="/book" className="button">
            Book your chair
          </Link>
          <Link href="/services">See what we do</Link>
        </p>
      </section>
      <Highlights />
    </>
  );
}
