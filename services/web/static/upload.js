// Send one file: small ones whole, large ones in parts that survive a broken connection.

import { transfer } from "./transfer.js";
import { uploadInParts } from "./upload-parts.js";

/** Files above this many bytes go in parts: nobody likes to begin them anew. */
const WHOLE_BYTES = 32 * 1024 * 1024;

/**
 * Upload `file`; resolve to the file object, reject with an ApiError or an AbortError.
 *
 * `share` are the ids of principals who may read it, or `collection` is the id of the collection that then decides
 * who may. `batch` is the id of the batch that it belongs to, which waits in the queue for bulk imports.
 * `progress(sent, total)` counts bytes; `broken()` is called whenever the connection broke and is tried again.
 */
export function upload(file, { share = [], collection = null, batch = null, signal, progress, broken = () => {} }) {
  const fields = { queue: batch === null ? "interactive" : "bulk" };
  if (collection !== null) fields.collection = collection;
  if (batch !== null) fields.batch = batch;
  if (file.size > WHOLE_BYTES) return uploadInParts(file, fields, share, { signal, progress, broken });
  return uploadWhole(file, fields, share, { signal, progress });
}

async function uploadWhole(file, fields, share, { signal, progress }) {
  const form = new FormData();
  form.append("purpose", "assistants");
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const principal of share) form.append("share", principal);
  // The fields come first, so that the server knows them before the bytes arrive.
  form.append("file", file);
  const { response } = await transfer("POST", "/v1/files", { body: form, signal, progress });
  return response;
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
