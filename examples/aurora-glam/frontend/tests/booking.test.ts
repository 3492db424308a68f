import "./environment";
import assert from "node:assert/strict";
import { test } from "node:test";
import { available, book, freeTimes, type Wish } from "../lib/booking";
import type { Appointment, Member, Service } from "../lib/types";

const gloss: Service = { id: 4, name: "Gloss", category: "colour", description: "", minutes: 45, price_cents: 5900 };
const theo: Member = { id: 2, name: "Theo", title: "Colourist", skills: ["colour"], days: ["fri", "sat"] };
const ayaka: Member = { id: 3, name: "Ayaka", title: "Nail artist", skills: ["nails"], days: ["fri"] };
const wish: Wish = {
  service: gloss,
  member: theo,
  day: "2026-06-12",
  time: "10:00",
  name: "Noor",
  email: "noor@example.com",
};

function at(starts_at: string, minutes: number, status: Appointment["status"] = "booked"): Appointment {
  return { id: 1, customer: "Elif", service_id: 4, staff_id: 2, starts_at, minutes, status };
}

test("only those who do it, on a day on which they work", () => {
  assert.deepEqual(available([theo, ayaka], gloss, "2026-06-12"), [theo]);
  assert.deepEqual(available([theo, ayaka], gloss, "2026-06-14"), []);
  assert.deepEqual(available([theo, ayaka], gloss, "soon"), []);
});

test("free times end early enough and leave out what is taken", () => {
  const all = freeTimes([], 2, "2026-06-12", 45);
  assert.deepEqual([all[0], all.at(-1)], ["09:00", "19:00"]);
  const some = freeTimes([at("2026-06-12T10:00", 60)], 2, "2026-06-12", 45);
  assert.deepEqual(some.slice(0, 3), ["09:00", "11:00", "11:30"]);
  for (const other of [at("2026-06-13T10:00", 60), at("2026-06-12T10:00", 60, "cancelled")]) {
    assert.deepEqual(freeTimes([other], 2, "2026-06-12", 45), all);
  }
  assert.deepEqual(freeTimes([at("2026-06-12T10:00", 60)], 3, "2026-06-12", 45), all);
});

/** Answers by the end of the path, and remembers what was asked. */
function salon(answers: Record<string, [number, unknown]>) {
  const asked: string[] = [];
  const fetcher = async (url: string, init: RequestInit) => {
    const path = `${init.method} ${url.replace("https://salon.test/api", "")}`;
    asked.push(path);
    const [status, body] = answers[path] ?? [404, { error: { message: `no ${path}` } }];
    return new Response(JSON.stringify(body), { status });
  };
  return { asked, fetcher };
}

const users = "POST /users/api/v1/users";
const appointments = "POST /appointments/api/v1/appointments";
const notifications = "POST /notifications/api/v1/notifications";
const noor = { id: 1, name: "Noor", email: "noor@example.com", role: "customer" };

test("a new customer gets an account, the time and a confirmation, in that order", async () => {
  const { asked, fetcher } = salon({
    [users]: [201, noor],
    [appointments]: [201, at("2026-06-12T10:00", 45)],
    [notifications]: [202, {}],
  });
  assert.equal((await book(wish, fetcher)).confirmed, true);
  assert.deepEqual(asked, [users, appointments, notifications]);
});

test("a known customer keeps the account", async () => {
  const known = "GET /users/api/v1/users?email=noor%40example.com";
  const { asked, fetcher } = salon({
    [users]: [409, { error: { message: "taken" } }],
    [known]: [200, [noor]],
    [appointments]: [201, at("2026-06-12T10:00", 45)],
    [notifications]: [202, {}],
  });
  await book(wish, fetcher);
  assert.deepEqual(asked, [users, known, appointments, notifications]);
});

test("a confirmation that fails leaves the appointment as it is", async () => {
  const { fetcher } = salon({ [users]: [201, noor], [appointments]: [201, at("2026-06-12T10:00", 45)] });
  assert.equal((await book(wish, fetcher)).confirmed, false);
});

test("a time that is taken is not confirmed", async () => {
  const { asked, fetcher } = salon({
    [users]: [201, noor],
    [appointments]: [409, { error: { message: "that time is taken" } }],
  });
  await assert.rejects(book(wish, fetcher), /that time is taken/);
  assert.deepEqual(asked, [users, appointments]);
});
