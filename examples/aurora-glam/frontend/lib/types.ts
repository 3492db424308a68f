// What the six APIs answer.

export type Skill = "hair" | "colour" | "nails" | "skin";

export type User = { id: number; name: string; email: string; role: "customer" | "staff" | "manager" };

export type Service = {
  id: number;
  name: string;
  category: Skill;
  description: string;
  minutes: number;
  price_cents: number;
};

export type Member = { id: number; name: string; title: string; skills: Skill[]; days: string[] };

export type Appointment = {
  id: number;
  customer: string;
  service_id: number;
  staff_id: number;
  starts_at: string;
  minutes: number;
  status: "booked" | "cancelled";
};

export type Notification = {
  id: number;
  channel: "email" | "sms";
  recipient: string;
  message: string;
  state: "queued" | "sent";
};

export type Report = { id: number; day: string; appointments: number; cancelled: number; revenue_cents: number };

export type Summary = {
  days: number;
  appointments: number;
  cancelled: number;
  revenue_cents: number;
  cancelled_permille: number;
  best_day: string | null;
};
