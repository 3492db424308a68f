import type { Metadata } from "next";
import { Booking } from "./Booking";

export const metadata: Metadata = { title: "Book" };

export default function Book() {
  return (
    <>
      <h1>Book your chair</h1>
      <p className="lead">Four choices and your name. You can cancel until the evening before.</p>
      <Booking />
    </>
  );
}
