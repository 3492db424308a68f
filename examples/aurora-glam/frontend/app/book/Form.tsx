"use client";

import { type FormEvent, useCallback, useEffect, useState } from "react";
import { Show } from "../../components/Show";
import { explain, useResource } from "../../components/useResource";
import { bases } from "../../lib/bases";
import { available, type Booked, book, freeTimes } from "../../lib/booking";
import { ApiError, get, type Problem } from "../../lib/client";
import { dayAfter, length, price } from "../../lib/format";
import type { Appointment, Member, Service } from "../../lib/types";

type Props = { services: Service[]; staff: Member[]; onBooked: (booked: Booked) => void };

export function Form({ services, staff, onBooked }: Props) {
  const [serviceId, setServiceId] = useState(services[0]?.id ?? 0);
  const [date, setDate] = useState("");
  const [memberId, setMemberId] = useState(0);
  const [time, setTime] = useState("");
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [sending, setSending] = useState(false);
  const [failure, setFailure] = useState<{ message: string; fields: Problem[] }>();

  // What depends on the visitor's clock and address is not known when the page is built.
  useEffect(() => {
    setDate(dayAfter(new Date(), 1));
    const asked = Number(new URLSearchParams(window.location.search).get("service"));
    if (services.some((one) => one.id === asked)) {
      setServiceId(asked);
    }
  }, [services]);

  const taken = useCallback(
    async () => (date === "" ? [] : get<Appointment[]>(bases.appointments, `/appointments?day=${date}`)),
    [date],
  );
  const appointments = useResource(taken);

  const service = services.find((one) => one.id === serviceId);
  const members = service === undefined ? [] : available(staff, service, date);
  const member = members.find((one) => one.id === memberId) ?? members[0];

  async function send(event: FormEvent) {
    event.preventDefault();
    if (service === undefined || member === undefined || time === "") {
      setFailure({ message: "Please choose a service, a day and a time.", fields: [] });
      return;
    }
    setSending(true);
    setFailure(undefined);
    try {
      onBooked(await book({ service, member, day: date, time, name, email }));
    } catch (error) {
      setFailure({ message: explain(error), fields: error instanceof ApiError ? error.fields : [] });
      setSending(false);
    }
  }

  return (
    <form className="booking" onSubmit={send}>
      <label>
        Service
        <select value={serviceId} onChange={(event) => setServiceId(Number(event.target.value))}>
          {services.map((one) => (
            <option key={one.id} value={one.id}>
              {one.name}, {length(one.minutes)}, {price(one.price_cents)}
            </option>
          ))}
        </select>
      </label>
      <label>
        Day
        <input type="date" required value={date} onChange={(event) => setDate(event.target.value)} />
      </label>
      <label>
        With
        <select
          value={member?.id ?? ""}
          disabled={members.length === 0}
          onChange={(event) => setMemberId(Number(event.target.value))}
        >
          {members.length === 0 && <option value="">nobody on that day</option>}
          {members.map((one) => (
            <option key={one.id} value={one.id}>
              {one.name}
            </option>
          ))}
        </select>
      </label>
      <fieldset>
        <legend>Time</legend>
        <Show of={appointments} what="free times">
          {(all) => {
            const times =
              service !== undefined && member !== undefined ? freeTimes(all, member.id, date, service.minutes) : [];
            return times.length === 0 ? (
              <p className="waiting">No free time. Another day, perhaps?</p>
            ) : (
              <div className="times">
                {times.map((one) => (
                  <label key={one}>
                    <input
                      type="radio"
                      name="time"
                      value={one}
                      checked={time === one}
                      onChange={() => setTime(one)}
                    />
                    <span>{one}</span>
                  </label>
                ))}
              </div>
            );
          }}
        </Show>
      </fieldset>
      <label>
        Your name
        <input
          required
          maxLength={80}
          autoComplete="name"
          value={name}
          onChange={(event) => setName(event.target.value)}
        />
      </label>
      <label>
        Your mail address
        <input
          type="email"
          required
          autoComplete="email"
          value={email}
          onChange={(event) => setEmail(event.target.value)}
        />
      </label>
      {failure !== undefined && (
        <div className="notice" role="alert">
          <p>
            <strong>Not booked.</strong> {failure.message}
          </p>
          {failure.fields.length > 0 && (
            <ul>
              {failure.fields.map(({ field, problem }) => (
                <li key={field}>
                  {field}: {problem}
                </li>
              ))}
            </ul>
          )}
        </div>
      )}
      <button type="submit" className="button" disabled={sending}>
        {sending ? "Booking…" : "Book"}
      </button>
    </form>
  );
}
