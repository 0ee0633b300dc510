// Send bytes with the share of them that has left. fetch cannot tell that; XMLHttpRequest can.

import { ApiError, toSignIn } from "./api.js";

/**
 * Send `body` and resolve to the finished XMLHttpRequest; reject with an ApiError, or an AbortError when `signal`
 * says so. `progress(sent, total)` counts bytes.
 */
export function transfer(method, path, { headers = {}, body = null, type = "json", signal, progress } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = type;
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (progress) request.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
    request.addEventListener("load", () => settle(request, resolve, reject));
    request.addEventListener("error", () => reject(ApiError.unreachable()));
    request.addEventListener("abort", () => reject(stopped()));
    const stop = () => request.abort();
    signal?.addEventListener("abort", stop);
    request.addEventListener("loadend", () => signal?.removeEventListener("abort", stop));
    request.send(body);
  });
}

/** What a transfer that somebody stopped is rejected with. */
export const stopped = () => new DOMException("The upload was cancelled.", "AbortError");

function settle(request, resolve, reject) {
  if (request.status >= 200 && request.status < 300) return resolve(request);
  if (request.status === 401) toSignIn();
  return reject(ApiError.from(request.response, request.status));
}
