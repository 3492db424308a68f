// Where the six APIs are. Next.js puts the values in place of these names at build time (which is why each is written
// out), so an image knows the APIs of one environment only. The messages below name none: they end up in every image.

export type Api = "users" | "services" | "appointments" | "staff" | "notifications" | "reports";

/** Takes the base of one API, or says what is wrong with it. */
export function base(variable: string, value: string | undefined): string {
  if (value === undefined || value.trim() === "") {
    throw new Error(`${variable} is not set: it is the URL of an API, like https://salon.example/api/users`);
  }
  let url: URL;
  try {
    url = new URL(value);
  } catch {
    throw new Error(`${variable} is ${JSON.stringify(value)}, which is no URL`);
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new Error(`${variable} is ${JSON.stringify(value)}, which is no https or http URL`);
  }
  if (url.search !== "" || url.hash !== "") {
    throw new Error(`${variable} is ${JSON.stringify(value)}: an API's URL has no query and no fragment`);
  }
  return value.trim().replace(/\/+$/, "");
}

export const bases: Record<Api, string> = {
  users: base("NEXT_PUBLIC_USER_API_BASE", process.env.NEXT_PUBLIC_USER_API_BASE),
  services: base("NEXT_PUBLIC_SERVICE_API_BASE", process.env.NEXT_PUBLIC_SERVICE_API_BASE),
  appointments: base("NEXT_PUBLIC_APPOINTMENT_API_BASE", process.env.NEXT_PUBLIC_APPOINTMENT_API_BASE),
  staff: base("NEXT_PUBLIC_STAFF_API_BASE", process.env.NEXT_PUBLIC_STAFF_API_BASE),
  notifications: base("NEXT_PUBLIC_NOTIFICATION_API_BASE", process.env.NEXT_PUBLIC_NOTIFICATION_API_BASE),
  reports: base("NEXT_PUBLIC_REPORTS_API_BASE", process.env.NEXT_PUBLIC_REPORTS_API_BASE),
};
