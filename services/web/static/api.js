// Talk to this server, and to no other. Failures arrive as ApiError with words for a person.

/** An error the server named, or that kept us from reaching it. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = "unreachable", hint = null, param = null } = {}) {
    super(message);
    Object.assign(this, { status, code, hint, param });
  }

  /** Make one from the envelope `{error: {…}}`. */
  static from(body, status = 0) {
    const error = body?.error ?? {};
    return new ApiError(error.message || "The server could not do this.", {
      status,
      code: error.code || "unknown",
      hint: error.hint ?? null,
      param: error.param ?? null,
    });
  }

  static unreachable() {
    return new ApiError("The server cannot be reached.", { hint: "Check that Strongroom is running, then try again." });
  }
}

/** Send a request; return the response, or throw an ApiError. A lost sign-in leads to the sign-in page. */
export async function send(path, { method = "GET", json, signal, stay = false } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      headers: json === undefined ? {} : { "Content-Type": "application/json" },
      body: json === undefined ? undefined : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw ApiError.unreachable();
  }
  if (response.ok) return response;
  if (response.status === 401 && !stay) toSignIn();
  throw ApiError.from(await response.json().catch(() => null), response.status);
}

/** Send a request and return its JSON; null for an answer without content. */
export async function call(path, options) {
  const response = await send(path, options);
  return response.status === 204 ? null : response.json();
}

/** Leave for the sign-in page and come back here afterwards. */
export function toSignIn() {
  const here = location.pathname + location.search;
  location.assign(`/sign-in?next=${encodeURIComponent(here)}`);
}
