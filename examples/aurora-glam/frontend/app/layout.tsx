import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";
import { Header } from "../components/Header";
import "./globals.css";

export const metadata: Metadata = {
  title: { default: "Aurora Glam", template: "%s · Aurora Glam" },
  description: "Hair, colour, nails and skin. Book your chair in a minute.",
};

export const viewport: Viewport = { themeColor: "#fbf7f4" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <a className="skip" href="#content">
          Skip to content
        </a>
        <Header />
        <main id="content">{children}</main>
        <footer>
          <p>Aurora Glam · Lindengasse 12 · open Monday to Saturday, 9:00 to 20:00</p>
        </footer>
      </body>
    </html>
  );
}
