"use client";

import { useCallback, useEffect, useState } from "react";
import { ApiError } from "../lib/client";

export type Resource<T> =
  | { state: "loading" }
  | { state: "there"; value: T }
  | { state: "failed"; message: string; retry: () => void };

/** Loads something when `load` changes, and again on `retry`. Keep `load` stable (module level or `useCallback`). */
export function useResource<T>(load: () => Promise<T>): Resource<T> {
  const [attempt, setAttempt] = useState(0);
  const [resource, setResource] = useState<Resource<T>>({ state: "loading" });
  const retry = useCallback(() => setAttempt((count) => count + 1), []);

  useEffect(() => {
    let wanted = true;
    setResource({ state: "loading" });
    load().then(
      (value) => wanted && setResource({ state: "there", value }),
      (error: unknown) => wanted && setResource({ state: "failed", message: explain(error), retry }),
    );
    return () => {
      wanted = false;
    };
  }, [load, attempt, retry]);

  return resource;
}

export function explain(error: unknown): string {
  return error instanceof ApiError ? error.message : "Something went wrong.";
}
