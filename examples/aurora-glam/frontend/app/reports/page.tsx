import type { Metadata } from "next";
import { Figures } from "./Figures";
import { Messages } from "./Messages";

export const metadata: Metadata = { title: "Reports" };

export default function Reports() {
  return (
    <>
      <h1>Reports</h1>
      <p className="lead">How the salon does, for the people who run it.</p>
      <Figures />
      <Messages />
    </>
  );
}
