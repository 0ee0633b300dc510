// Send one file, with the share of bytes that have left. fetch cannot tell that; XMLHttpRequest can.

import { ApiError, toSignIn } from "./api.js";

/**
 * Upload `file`, shared with `share` (principal ids), or into the collection with the id `collection`, which then
 * decides who may read it; resolve to the file object, reject with an ApiError.
 */
export function upload(file, { share = [], collection = null, signal, progress }) {
  const form = new FormData();
  form.append("purpose", "assistants");
  for (const principal of share) form.append("share", principal);
  if (collection !== null) form.append("collection", collection);
  // The fields come first, so that the server knows them before the bytes arrive.
  form.append("file", file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
    request.addEventListener("load", () => settle(request, resolve, reject));
    request.addEventListener("error", () => reject(ApiError.unreachable()));
    request.addEventListener("abort", () => reject(new DOMException("The upload was cancelled.", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

function settle(request, resolve, reject) {
  if (request.status >= 200 && request.status < 300) return resolve(request.response);
  if (request.status === 401) toSignIn();
  return reject(ApiError.from(request.response, request.status));
}

/** Runs at most `limit` of the given tasks at a time, in order. */
export class Turnstile {
  #limit;
  #inside = 0;
  #waiting = [];

  constructor(limit) {
    this.#limit = limit;
  }

  /** Run `task` when it is its turn; resolve or reject as it does. */
  async pass(task) {
    if (this.#inside >= this.#limit) await new Promise((resolve) => { this.#waiting.push(resolve); });
    else this.#inside += 1;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#inside -= 1;
    }
  }
}

/** Let the whole page take files that are dropped on it, so that a near miss does not leave the page for the file. */
export function takeDropped(take) {
  let inside = 0;
  const listen = (type, react) => document.addEventListener(type, (event) => {
    if (event.dataTransfer?.types.includes("Files")) react(event);
  });
  listen("dragenter", () => {
    inside += 1;
    document.body.classList.add("dropping");
  });
  listen("dragleave", () => {
    inside -= 1;
    if (inside <= 0) document.body.classList.remove("dropping");
  });
  listen("dragover", (event) => event.preventDefault());
  listen("drop", (event) => {
    event.preventDefault();
    inside = 0;
    document.body.classList.remove("dropping");
    take(event.dataTransfer.files);
  });
}
