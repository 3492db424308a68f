import assert from "node:assert/strict";
import { test } from "node:test";
import { day, dayAfter, length, permille, price, weekday } from "../lib/format";

test("prices", () => {
  assert.deepEqual([0, 6800, 5950, 5905, 123456789, 100000].map(price), [
    "€0",
    "€68",
    "€59.50",
    "€59.05",
    "€1,234,567.89",
    "€1,000",
  ]);
});

test("lengths", () => {
  assert.deepEqual([0, 45, 60, 150].map(length), ["0 min", "45 min", "1 h", "2 h 30 min"]);
});

test("days", () => {
  assert.equal(day("2026-06-12"), "Friday, 12 June");
  assert.equal(weekday("2026-06-13"), "sat");
  for (const wrong of ["", "soon", "2026-02-30", "2026-6-1", "2026-06-12T10:00"]) {
    assert.equal(day(wrong), wrong);
    assert.equal(weekday(wrong), undefined);
  }
});

test("the next days cross months and years", () => {
  assert.equal(dayAfter(new Date(2026, 11, 31, 23, 30), 1), "2027-01-01");
  assert.equal(dayAfter(new Date(2028, 1, 28), 1), "2028-02-29");
});

test("shares", () => {
  assert.equal(permille(48), "4.8 %");
});
