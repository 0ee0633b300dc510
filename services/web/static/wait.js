// A wait that everybody can follow: the eye sees each second, a screen reader hears only what matters.

import { plural } from "./words.js";

const TICK_MS = 250;
const SAID_AT_S = [60, 30, 10];

export class Wait {
  #place;
  #announcer;
  #timer = null;
  #ends = 0;
  #left = 0;

  /** `place` shows the seconds and is no live region; `announcer` is one. */
  constructor(place, announcer) {
    this.#place = place;
    this.#announcer = announcer;
  }

  /** Count down from `seconds`, and say at the end that one can try again. */
  begin(seconds) {
    this.stop();
    // Counted from a time, because browsers slow down the timers of pages in the background.
    this.#ends = Date.now() + seconds * 1000;
    this.#left = seconds;
    this.#announcer.textContent = `Too many attempts failed. You can try again in ${inWords(seconds)}.`;
    this.#place.hidden = false;
    this.#show();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** End it without a word. */
  stop() {
    clearInterval(this.#timer);
    this.#place.hidden = true;
    this.#announcer.textContent = "";
  }

  #tick() {
    const left = Math.max(0, Math.ceil((this.#ends - Date.now()) / 1000));
    if (left === this.#left) return;
    const passed = SAID_AT_S.find((mark) => left <= mark && mark < this.#left);
    this.#left = left;
    if (left === 0) return this.#over();
    if (passed) this.#announcer.textContent = `${inWords(left)} left.`;
    return this.#show();
  }

  #show() {
    this.#place.textContent = `Too many attempts failed. You can try again in ${inWords(this.#left)}.`;
  }

  #over() {
    clearInterval(this.#timer);
    this.#place.textContent = this.#announcer.textContent = "You can try again now.";
  }
}

/** Seconds as people say them, e.g. “1 minute 5 seconds”. */
export function inWords(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
  return [minutes ? plural(minutes, "minute") : null, rest || !minutes ? plural(rest, "second") : null].filter(Boolean).join(" ");
}
