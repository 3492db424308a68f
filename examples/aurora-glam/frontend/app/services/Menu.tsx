"use client";

import Link from "next/link";
import { Show } from "../../components/Show";
import { useResource } from "../../components/useResource";
import { bases } from "../../lib/bases";
import { get } from "../../lib/client";
import { length, price } from "../../lib/format";
import type { Service } from "../../lib/types";

const services = () => get<Service[]>(bases.services, "/services");

export function Menu() {
  const loaded = useResource(services);
  return (
    <section aria-labelledby="menu">
      <h2 id="menu">What we do</h2>
      <Show of={loaded} what="the menu">
        {(all) => (
          <ul className="menu">
            {all.map((service) => (
              <li key={service.id}>
                <h3>{service.name}</h3>
                <p>{service.description}</p>
                <p className="facts">
                  {length(service.minutes)} · <strong>{price(service.price_cents)}</strong>
                </p>
                <Link href={`/book?service=${service.id}`} aria-label={`Book ${service.name}`}>
                  Book
                </Link>
              </li>
            ))}
          </ul>
        )}
      </Show>
    </section>
  );
}
