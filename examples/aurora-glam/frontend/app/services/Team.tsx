"use client";

import { Show } from "../../components/Show";
import { useResource } from "../../components/useResource";
import { bases } from "../../lib/bases";
import { get } from "../../lib/client";
import type { Member } from "../../lib/types";

const staff = () => get<Member[]>(bases.staff, "/staff");

function initials(name: string): string {
  return name
    .split(" ")
    .map((word) => word.charAt(0))
    .slice(0, 2)
    .join("");
}

export function Team() {
  const loaded = useResource(staff);
  return (
    <section aria-labelledby="team">
      <h2 id="team">Who does it</h2>
      <Show of={loaded} what="our team">
        {(all) => (
          <ul className="cards">
            {all.map((member) => (
              <li key={member.id} className="card person">
                <span className="avatar" aria-hidden="true">
                  {initials(member.name)}
                </span>
                <h3>{member.name}</h3>
                <p>{member.title}</p>
                <p className="facts">{member.skills.join(" · ")}</p>
                <p className="days">{member.days.join(" ")}</p>
              </li>
            ))}
          </ul>
        )}
      </Show>
    </section>
  );
}
