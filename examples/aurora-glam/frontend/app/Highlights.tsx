"use client";

import Link from "next/link";
import { Show } from "../components/Show";
import { useResource } from "../components/useResource";
import { bases } from "../lib/bases";
import { get } from "../lib/client";
import { length, price } from "../lib/format";
import type { Service } from "../lib/types";

const services = () => get<Service[]>(bases.services, "/services");

/** One service of each kind. */
function picks(all: Service[]): Service[] {
  return all.filter((one, index) => all.findIndex((other) => other.category === one.category) === index);
}

export function Highlights() {
  const loaded = useResource(services);
  return (
    <section aria-labelledby="highlights">
      <h2 id="highlights">Most loved</h2>
      <Show of={loaded} what="our services">
        {(all) => (
          <ul className="cards">
            {picks(all).map((service) => (
              <li key={service.id} className="card">
                <p className="kicker">{service.category}</p>
                <h3>{service.name}</h3>
                <p>{service.description}</p>
                <p className="facts">
                  {length(service.minutes)} · {price(service.price_cents)}
                </p>
                <Link href={`/book?service=${service.id}`}>Book {service.name.toLowerCase()}</Link>
              </li>
            ))}
          </ul>
        )}
      </Show>
    </section>
  );
}
