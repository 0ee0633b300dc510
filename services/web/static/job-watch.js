// Follow jobs by their event streams.

import { call, send } from "./api.js";
import { eventsOf } from "./sse.js";
import { Turnstile } from "./upload.js";

const FINAL = new Set(["succeeded", "failed", "cancelled", "quarantined"]);
// A browser opens six connections to a server at most; the streams must leave some for everything else.
const streams = new Turnstile(3);
const PAUSE_MS = 2000;

export const isFinal = (job) => FINAL.has(job.state);

/** Call `changed(job)` with each state of the job until its last one, across lost connections. */
export async function watchJob(id, changed) {
  await streams.pass(async () => {
    for (;;) {
      const job = await follow(id, changed).catch(() => null);
      if (job && isFinal(job)) return;
      await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });
      const now = await call(`/v1/jobs/${encodeURIComponent(id)}`).catch(gone);
      if (now === GONE) return;
      if (now) changed(now);
      if (now && isFinal(now)) return;
    }
  });
}

const GONE = Symbol("gone");

// A deleted document takes its jobs along; anything else may pass.
function gone(error) {
  return error.status === 404 ? GONE : null;
}

async function follow(id, changed) {
  let last = null;
  const response = await send(`/v1/jobs/${encodeURIComponent(id)}/events`);
  for await (const { type, data } of eventsOf(response)) {
    if (type !== "job") continue;
    last = JSON.parse(data);
    changed(last);
    if (isFinal(last)) break;
  }
  return last;
}
