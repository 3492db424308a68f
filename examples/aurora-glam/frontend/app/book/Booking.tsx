"use client";

import { useState } from "react";
import { Show } from "../../components/Show";
import { useResource } from "../../components/useResource";
import { bases } from "../../lib/bases";
import type { Booked } from "../../lib/booking";
import { get } from "../../lib/client";
import { day } from "../../lib/format";
import type { Member, Service } from "../../lib/types";
import { Form } from "./Form";

const offer = async () => {
  const [services, staff] = await Promise.all([
    get<Service[]>(bases.services, "/services"),
    get<Member[]>(bases.staff, "/staff"),
  ]);
  return { services, staff };
};

export function Booking() {
  const loaded = useResource(offer);
  const [booked, setBooked] = useState<Booked>();

  if (booked !== undefined) {
    const [date = "", time = ""] = booked.appointment.starts_at.split("T");
    return (
      <section className="card done" role="status">
        <h2>See you on {day(date)}</h2>
        <p>
          {booked.appointment.customer}, your chair is yours at {time}.{" "}
          {booked.confirmed
            ? "A confirmation is on its way."
            : "We could not send a confirmation, so please note it down: it is booked all the same."}
        </p>
        <p className="facts">Appointment {booked.appointment.id}</p>
        <button type="button" className="quiet" onClick={() => setBooked(undefined)}>
          Book another
        </button>
      </section>
    );
  }
  return (
    <Show of={loaded} what="what can be booked">
      {({ services, staff }) => <Form services={services} staff={staff} onBooked={setBooked} />}
    </Show>
  );
}
