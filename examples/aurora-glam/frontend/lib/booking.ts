// What can be booked: who does a service, and when they are free.

import { bases } from "./bases";
import { ApiError, type Fetch, get, post } from "./client";
import { day as dayText, weekday } from "./format";
import type { Appointment, Member, Service, User } from "./types";

const OPEN = 9 * 60;
const CLOSE = 20 * 60;
const STEP = 30;

/** Those who do a service and work on a day. */
export function available(staff: Member[], service: Service, day: string): Member[] {
  const name = weekday(day);
  return staff.filter(
    (member) => member.skills.includes(service.category) && name !== undefined && member.days.includes(name),
  );
}

/** The times, `09:30`, at which one person is free for that long, among the appointments of a day. */
export function freeTimes(appointments: Appointment[], staffId: number, day: string, minutes: number): string[] {
  const busy = appointments
    .filter((one) => one.staff_id === staffId && one.status === "booked" && one.starts_at.startsWith(`${day}T`))
    .map((one) => {
      const from = minuteOf(one.starts_at.slice(11));
      return { from, to: from + one.minutes };
    });
  const times: string[] = [];
  for (let from = OPEN; from + minutes <= CLOSE; from += STEP) {
    if (busy.every((one) => one.to <= from || from + minutes <= one.from)) {
      times.push(clock(from));
    }
  }
  return times;
}

export type Wish = { service: Service; member: Member; day: string; time: string; name: string; email: string };

/** What came of a wish: booked, and whether the confirmation is on its way. */
export type Booked = { appointment: Appointment; confirmed: boolean };

/** Books: the customer's account first, then the time, then the confirmation, which may fail without undoing the rest. */
export async function book(wish: Wish, fetcher?: Fetch): Promise<Booked> {
  const customer = await account(wish.name, wish.email, fetcher);
  const appointment = await post<Appointment>(
    bases.appointments,
    "/appointments",
    {
      customer: customer.name,
      service_id: wish.service.id,
      staff_id: wish.member.id,
      starts_at: `${wish.day}T${wish.time}`,
      minutes: wish.service.minutes,
    },
    fetcher,
  );
  const message = `${wish.service.name} with ${wish.member.name}: ${dayText(wish.day)} at ${wish.time}. See you soon!`;
  const confirmed = await post(
    bases.notifications,
    "/notifications",
    { channel: "email", recipient: customer.email, message },
    fetcher,
  ).then(
    () => true,
    () => false,
  );
  return { appointment, confirmed };
}

/** The account of a mail address: a new one, or the one that is there. */
async function account(name: string, email: string, fetcher?: Fetch): Promise<User> {
  try {
    return await post<User>(bases.users, "/users", { name, email }, fetcher);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 409) {
      throw error;
    }
    const [known] = await get<User[]>(bases.users, `/users?email=${encodeURIComponent(email)}`, fetcher);
    if (known === undefined) {
      throw error;
    }
    return known;
  }
}

function minuteOf(time: string): number {
  const [hour, minute] = time.split(":").map(Number);
  return (hour ?? 0) * 60 + (minute ?? 0);
}

function clock(minute: number): string {
  const two = (number: number) => number.toString().padStart(2, "0");
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}
