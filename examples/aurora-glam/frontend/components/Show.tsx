import type { ReactNode } from "react";
import type { Resource } from "./useResource";

/** What a page shows for something that is loaded: a wait, the thing, or an apology with a way to try again. */
export function Show<T>({ of, what, children }: { of: Resource<T>; what: string; children: (value: T) => ReactNode }) {
  switch (of.state) {
    case "loading":
      return (
        <p className="waiting" role="status">
          Fetching {what}…
        </p>
      );
    case "failed":
      return (
        <div className="notice" role="alert">
          <p>
            <strong>We cannot show {what}.</strong> {of.message}
          </p>
          <button type="button" className="quiet" onClick={of.retry}>
            Try again
          </button>
        </div>
      );
    case "there":
      return <>{children(of.value)}</>;
  }
}
