// Requests to the APIs. Whatever goes wrong comes back as one kind of error that a page can show.

export type Problem = { field: string; problem: string };

/** A request that did not give what was asked for. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** The status of the answer; 0 where there was none. */
    readonly status: number,
    readonly fields: Problem[] = [],
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

const PATIENCE = 8000;

/** GETs JSON. */
export function get<T>(base: string, path: string, fetcher: Fetch = fetch): Promise<T> {
  return request<T>(base, path, { method: "GET" }, fetcher);
}

/** POSTs JSON. */
export function post<T>(base: string, path: string, body: unknown, fetcher: Fetch = fetch): Promise<T> {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return request<T>(base, path, init, fetcher);
}

async function request<T>(base: string, path: string, init: RequestInit, fetcher: Fetch): Promise<T> {
  let response: Response;
  try {
    response = await fetcher(`${base}/api/v1${path}`, { ...init, signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    throw new ApiError("We cannot reach the salon right now.", 0);
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (response.ok && body !== undefined) {
    return body as T;
  }
  throw failure(response.status, body);
}

function failure(status: number, body: unknown): ApiError {
  const error = typeof body === "object" && body !== null && "error" in body ? body.error : undefined;
  if (typeof error === "object" && error !== null && "message" in error && typeof error.message === "string") {
    const fields = "fields" in error && Array.isArray(error.fields) ? (error.fields as Problem[]) : [];
    return new ApiError(error.message, status, fields);
  }
  return new ApiError(`The salon answered with something we do not understand (${status}).`, status);
}
