// Send a large file in parts (tus 1.0.0, https://tus.io/protocols/resumable-upload): after a broken connection the
// server is asked how much it has, and the rest follows.

import { call } from "./api.js";
import { stopped, transfer } from "./transfer.js";

const PROTOCOL = { "Tus-Resumable": "1.0.0" };
/** One request's bytes: what is sent again at worst, and a fair share of a slow line's time. */
const PART_BYTES = 16 * 1024 * 1024;
const PAUSES_MS = [500, 1000, 2000, 4000, 8000, 15_000, 30_000];
/** So many failures without a single byte between them, about half an hour, and it ends. */
const PATIENCE = 60;

/** Upload `file` with `fields` and `share`, as `upload` does; resolve to the file object. */
export async function uploadInParts(file, fields, share, { signal, progress, broken }) {
  const line = new PatientLine(signal, broken);
  const metadata = metadataOf({ filename: file.name, ...fields, share: share.join("\n") });
  const headers = { ...PROTOCOL, "Upload-Length": String(file.size), "Upload-Metadata": metadata };
  const begun = await line.through(() => transfer("POST", "/v1/uploads", { headers, signal }));
  const address = begun.getResponseHeader("Location");
  try {
    const { id, what } = await sendAll(file, address, line, { signal, progress });
    return { ...(await line.through(() => call(`/v1/files/${encodeURIComponent(id)}`, { signal }))), x_upload: what };
  } catch (error) {
    // What had arrived is of no use to anybody any more; if this does not reach the server, it expires.
    if (error.name === "AbortError") transfer("DELETE", address, { headers: PROTOCOL, type: "text" }).catch(() => {});
    throw error;
  }
}

async function sendAll(file, address, line, { signal, progress }) {
  let at = 0;
  for (;;) {
    const from = at;
    const part = file.slice(from, from + PART_BYTES);
    const headers = { ...PROTOCOL, "Upload-Offset": String(from), "Content-Type": "application/offset+octet-stream" };
    const counted = (sent) => progress(Math.min(from + sent, file.size), file.size);
    const send = () => transfer("PATCH", address, { headers, body: part, signal, progress: counted });
    const answer = await line.through(send, () => transfer("HEAD", address, { headers: PROTOCOL, type: "text", signal }));
    at = Number(answer.getResponseHeader("Upload-Offset"));
    line.moved(at > from);
    const id = answer.getResponseHeader("X-File-Id");
    if (id !== null) return { id, what: answer.getResponseHeader("X-Upload") };
  }
}

/** A connection that may break: what fails for a reason that passes is tried again, after a while. */
class PatientLine {
  #signal;
  #broken;
  #failures = 0;

  constructor(signal, broken) {
    this.#signal = signal;
    this.#broken = broken;
  }

  /** Say whether bytes have arrived, which renews the patience. */
  moved(any) {
    if (any) this.#failures = 0;
  }

  /** Resolve to what `act` does, or to what `otherwise` (without it, `act` again) does after a failure that passes. */
  async through(act, otherwise = act) {
    for (let next = act; ; next = otherwise) {
      try {
        return await next();
      } catch (error) {
        if (!passes(error) || ++this.#failures > PATIENCE) throw error;
        if (error.status !== 409) this.#broken();
        await this.#pause();
      }
    }
  }

  #pause() {
    const length = PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length) - 1];
    return new Promise((resolve, reject) => {
      const over = () => {
        clearTimeout(timer);
        removeEventListener("online", over);
        this.#signal.removeEventListener("abort", over);
        if (this.#signal.aborted) reject(stopped());
        else resolve();
      };
      const timer = setTimeout(over, length);
      addEventListener("online", over);
      this.#signal.addEventListener("abort", over);
    });
  }
}

// No answer, a server that is busy or just starting, or a part that begins elsewhere: the server knows where.
const PASSING = new Set([0, 408, 409, 429, 500, 502, 503, 504]);

const passes = (error) => PASSING.has(error.status);

function metadataOf(fields) {
  const filled = Object.entries(fields).filter(([, value]) => value !== "");
  return filled.map(([name, value]) => `${name} ${base64(value)}`).join(",");
}

// `btoa` knows only single bytes; names are UTF-8.
function base64(text) {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}
