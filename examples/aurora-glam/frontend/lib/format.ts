// How the site writes prices, lengths and days: the same for every visitor, whatever the browser's language.

const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

/** `6800` as `€68`, `5950` as `€59.50`, `123456789` as `€1,234,567.89`. */
export function price(cents: number): string {
  const whole = Math.floor(cents / 100)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");
  const rest = cents % 100;
  return rest === 0 ? `€${whole}` : `€${whole}.${rest.toString().padStart(2, "0")}`;
}

/** `90` as `1 h 30 min`. */
export function length(minutes: number): string {
  const hours = Math.floor(minutes / 60);
  const rest = minutes % 60;
  return [hours > 0 ? `${hours} h` : "", rest > 0 || hours === 0 ? `${rest} min` : ""].filter(Boolean).join(" ");
}

/** `2026-06-12` as `Friday, 12 June`; what is no day stays as it is. */
export function day(text: string): string {
  const date = parse(text);
  return date === undefined
    ? text
    : `${WEEKDAYS[date.getUTCDay()]}, ${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
}

/** `2026-06-12` as `fri`, the APIs' word for a weekday. */
export function weekday(text: string): string | undefined {
  const date = parse(text);
  return date === undefined ? undefined : WEEKDAYS[date.getUTCDay()]?.slice(0, 3).toLowerCase();
}

/** The day that many days after a date, as a visitor's wall calendar shows it. */
export function dayAfter(date: Date, days: number): string {
  const then = new Date(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate() + days));
  return then.toISOString().slice(0, 10);
}

/** `48` (of a thousand) as `4.8 %`. */
export function permille(value: number): string {
  return `${(value / 10).toFixed(1)} %`;
}

function parse(text: string): Date | undefined {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) {
    return undefined;
  }
  const date = new Date(`${text}T00:00:00Z`);
  return Number.isNaN(date.getTime()) || date.toISOString().slice(0, 10) !== text ? undefined : date;
}
