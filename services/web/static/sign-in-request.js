// The one request that is made before anybody is signed in, and that can be held up.

import { ApiError } from "./api.js";

/** Begin a session; throws an ApiError, with `retryAfterS` in seconds when there were too many attempts. */
export async function signIn(credentials) {
  const response = await fetch("/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(credentials),
  }).catch(() => {
    throw ApiError.unreachable();
  });
  if (response.ok) return;
  const error = ApiError.from(await response.json().catch(() => null), response.status);
  error.retryAfterS = response.status === 429 ? Number(response.headers.get("Retry-After")) || 1 : 0;
  throw error;
}
