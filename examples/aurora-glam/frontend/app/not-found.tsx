import Link from "next/link";

export default function NotFound() {
  return (
    <section className="hero">
      <p className="kicker">404</p>
      <h1>This chair is empty.</h1>
      <p className="lead">There is no page at this address.</p>
      <p className="actions">
        <Link href="/" className="button">
          Back to the salon
        </Link>
      </p>
    </section>
  );
}
