"use client";

import Link from "next/link";
import { usePathname } from "next/navigation";

const pages = [
  { href: "/", name: "Home" },
  { href: "/services", name: "Services & team" },
  { href: "/reports", name: "Reports" },
];

export function Header() {
  const path = usePathname();
  const current = (href: string) => (path === href ? "page" : undefined);
  return (
    <header className="top">
      <Link href="/" className="brand">
        <span className="mark" aria-hidden="true" />
        Aurora Glam
      </Link>
      <nav aria-label="Pages">
        {pages.map(({ href, name }) => (
          <Link key={href} href={href} aria-current={current(href)}>
            {name}
          </Link>
        ))}
        <Link href="/book" className="button" aria-current={current("/book")}>
          Book
        </Link>
      </nav>
    </header>
  );
}
