import "./environment";
import assert from "node:assert/strict";
import { test } from "node:test";
import { base, bases } from "../lib/bases";

test("a base loses the slashes at its end", () => {
  assert.equal(bases.users, "https://salon.test/api/users");
  assert.equal(base("X", " http://localhost:8001// "), "http://localhost:8001");
});

test("a build without a usable base is refused, and the variable named", () => {
  for (const value of [undefined, "", "  ", "salon.test/api", "/api/users", "ftp://salon.test", "https://salon.test/?a=1"]) {
    assert.throws(() => base("NEXT_PUBLIC_USER_API_BASE", value), /^Error: NEXT_PUBLIC_USER_API_BASE is /, value);
  }
});
