import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, get, post } from "../lib/client";

const json = (status: number, body: unknown) => async () => new Response(JSON.stringify(body), { status });

test("requests go below /api/v1 of the base", async () => {
  const seen: [string, RequestInit][] = [];
  const body = await post("https://salon.test/api/users", "/users", { name: "Ada" }, async (url, init) => {
    seen.push([url, init]);
    return Response.json({ id: 1 }, { status: 201 });
  });
  assert.deepEqual(body, { id: 1 });
  assert.equal(seen[0]?.[0], "https://salon.test/api/users/api/v1/users");
  assert.equal(seen[0]?.[1].method, "POST");
  assert.equal(seen[0]?.[1].body, '{"name":"Ada"}');
});

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof ApiError);
    return error;
  }
  assert.fail("it did not fail");
}

test("an API's own words are passed on", async () => {
  const fields = [{ field: "email", problem: "must be a mail address" }];
  const error = await failure(get("", "", json(422, { error: { code: "invalid", message: "some fields", fields } })));
  assert.deepEqual([error.status, error.message, error.fields], [422, "some fields", fields]);
});

test("answers that are not the API's are told apart from silence", async () => {
  const page = await failure(get("", "", async () => new Response("<html>", { status: 502 })));
  assert.deepEqual([page.status, page.fields], [502, []]);
  assert.match(page.message, /502/);
  const empty = await failure(get("", "", async () => new Response("", { status: 200 })));
  assert.equal(empty.status, 200);
  const silence = await failure(get("", "", async () => Promise.reject(new TypeError("fetch failed"))));
  assert.equal(silence.status, 0);
});
