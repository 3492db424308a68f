import type { Metadata } from "next";
import { Menu } from "./Menu";
import { Team } from "./Team";

export const metadata: Metadata = { title: "Services & team" };

export default function Services() {
  return (
    <>
      <h1>Services &amp; team</h1>
      <p className="lead">Every price includes the consultation. If we think that you need less than you ask for, we say so.</p>
      <Menu />
      <Team />
    </>
  );
}
