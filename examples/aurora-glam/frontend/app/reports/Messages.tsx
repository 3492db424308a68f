"use client";

import { Show } from "../../components/Show";
import { useResource } from "../../components/useResource";
import { bases } from "../../lib/bases";
import { get } from "../../lib/client";
import type { Notification, User } from "../../lib/types";

const queue = async () => {
  const [notifications, customers] = await Promise.all([
    get<Notification[]>(bases.notifications, "/notifications"),
    get<User[]>(bases.users, "/users?role=customer"),
  ]);
  return { notifications, customers };
};

export function Messages() {
  const loaded = useResource(queue);
  return (
    <section aria-labelledby="messages">
      <h2 id="messages">Messages</h2>
      <Show of={loaded} what="the messages">
        {({ notifications, customers }) => (
          <>
            <p>
              {notifications.filter((one) => one.state === "queued").length} waiting to be sent, for{" "}
              {customers.length} customers.
            </p>
            <ul className="messages">
              {notifications.map((one) => (
                <li key={one.id}>
                  <span className={`state ${one.state}`}>{one.state}</span>
                  <span>{one.message}</span>
                  <span className="facts">
                    {one.channel} to {one.recipient}
                  </span>
                </li>
              ))}
            </ul>
          </>
        )}
      </Show>
    </section>
  );
}
