// Files that were uploaded together, followed as one: how many are done, how fast it goes, how long it takes.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";
import { count, plural, timeLeft } from "./words.js";

const FIRST_PAUSE_MS = 1000;
// Each look is on the record, so a long import is looked at less and less often.
const LONGEST_PAUSE_MS = 10_000;
const SLOWER = 1.2;
const OPEN = ["queued", "running"];
const BROKEN = ["failed", "quarantined"];

export class BatchSummary {
  #actions;
  #total = 0;
  #sending = 0;
  #refused = 0;
  #known = 0;
  #counts = {};
  #began = null;
  #watching = false;
  #wanted = false;
  #awake = () => {};
  #pause = FIRST_PAUSE_MS;
  #parts = {
    words: el("p", { class: "batch-words" }),
    bar: el("progress", { max: 100, value: 0, "aria-label": "Progress of these files" }),
    buttons: el("div", { class: "batch-actions" }),
    problem: el("p", { class: "problem", role: "alert", hidden: true }),
  };
  #shown = "";

  /**
   * `actions`: moved(job) for each job that is not as it was, ended(words) when nothing is left to do, stop() for
   * what is still to be sent, and dismissed(). Files are announced with `expect` before they are sent.
   */
  constructor(id, actions) {
    this.id = id;
    this.#actions = actions;
    const { words, bar, buttons, problem } = this.#parts;
    this.element = el("section", { class: "batch", "aria-label": "Files uploaded together" }, words, buttons, bar, problem);
    this.element.hidden = true;
  }

  /** Count `files` more that are to be sent. */
  expect(files) {
    this.#total += files;
    this.#sending += files;
    this.#show();
  }

  /** One of the files has left: it has a job (`queued`), was `known` already, was `refused`, or `stopped` before. */
  sent(outcome) {
    this.#sending -= 1;
    if (outcome === "refused") this.#refused += 1;
    if (outcome === "known") this.#known += 1;
    if (outcome === "stopped") this.#total -= 1;
    this.#show();
    this.#wanted = true;
    if (!this.#watching) this.#watch();
  }

  /** Look at the batch until all of it has ended; look at once when that goes on already. */
  follow() {
    this.#pause = FIRST_PAUSE_MS;
    this.#wanted = true;
    if (this.#watching) this.#awake();
    else this.#watch();
  }

  async #watch() {
    this.#watching = true;
    // Time is measured while there is something to do, not from an hour ago.
    this.#began = { at: Date.now(), settled: this.#settled };
    for (;;) {
      this.#wanted = false;
      const open = await this.#look();
      if (!open && !this.#wanted) break;
      await this.#rest();
    }
    this.#watching = false;
    this.#show();
    if (this.element.isConnected && this.#total > 0) this.#actions.ended(`${this.#tally().join(", ")}.`);
  }

  #rest() {
    const length = this.#pause;
    this.#pause = Math.min(LONGEST_PAUSE_MS, length * SLOWER);
    return new Promise((resolve) => {
      this.#awake = resolve;
      setTimeout(resolve, length);
    });
  }

  /** Look once; false when nothing can change any more. */
  async #look() {
    if (!this.element.isConnected) return false;
    try {
      const batch = await call(`/v1/batches/${encodeURIComponent(this.id)}`);
      this.#take(batch);
      await this.#takeJobs(batch);
    } catch (error) {
      if (error.status === 404) return false;
      // Anything else may pass; the next look tells.
      return true;
    }
    return this.#open > 0 || this.#sending > 0;
  }

  async #takeJobs({ jobs, has_more: more }) {
    let page = { data: jobs, has_more: more };
    for (;;) {
      page.data.forEach((job) => this.#actions.moved(job));
      if (!page.has_more) return;
      page = await call(`/v1/jobs?batch=${encodeURIComponent(this.id)}&after=${encodeURIComponent(page.data.at(-1).id)}`);
    }
  }

  #take({ counts }) {
    this.#counts = counts;
    // After a reload of the page nobody has announced them.
    this.#total = Math.max(this.#total, this.#jobs + this.#known + this.#refused + this.#sending);
    this.#show();
  }

  #count(states) {
    return states.reduce((sum, state) => sum + (this.#counts[state] ?? 0), 0);
  }

  get #jobs() { return this.#count(Object.keys(this.#counts)); }
  get #open() { return this.#count(OPEN); }
  get #done() { return this.#count(["succeeded"]) + this.#known; }
  get #failed() { return this.#count(BROKEN) + this.#refused; }
  get #cancelled() { return this.#count(["cancelled"]); }
  get #settled() { return this.#done + this.#failed + this.#cancelled; }

  #show() {
    const { words, bar } = this.#parts;
    this.element.hidden = this.#total === 0;
    // All of it was stopped before it was sent: there is nothing to tell, and the focus must not get lost.
    if (this.#total === 0 && this.element.contains(document.activeElement)) return this.#actions.dismissed();
    words.replaceChildren(...this.#words().map((part) => el("span", {}, part)));
    bar.value = this.#total ? (100 * this.#settled) / this.#total : 0;
    bar.hidden = !this.#busy;
    return this.#buttons();
  }

  get #busy() {
    return this.#sending > 0 || this.#open > 0 || (this.#watching && this.#settled < this.#total);
  }

  #words() {
    const { done, left } = this.#pace();
    return [...this.#tally(), ...(this.#busy ? [done, left] : [])].filter(Boolean);
  }

  #tally() {
    return [
      `${count(this.#done)} of ${plural(this.#total, "file")} done`,
      this.#failed ? `${count(this.#failed)} failed` : null,
      this.#cancelled ? `${count(this.#cancelled)} cancelled` : null,
    ].filter(Boolean);
  }

  // Two files and five seconds are the least that a pace can be told from.
  #pace() {
    const seconds = this.#began ? (Date.now() - this.#began.at) / 1000 : 0;
    const settled = this.#began ? this.#settled - this.#began.settled : 0;
    if (seconds < 5 || settled < 2) return {};
    const rate = settled / seconds;
    const minute = rate * 60;
    const done = minute >= 1 ? `${count(Math.round(minute))} a minute` : `${count(Math.max(1, Math.round(minute * 60)))} an hour`;
    return { done, left: timeLeft(Math.ceil((this.#total - this.#settled) / rate)) };
  }

  // Only another set of buttons replaces the old ones; the focus stays within.
  #buttons() {
    const names = this.#busy ? ["cancel"] : [];
    if (!this.#busy && this.#count(BROKEN) + this.#cancelled > 0) names.push("retry");
    if (!this.#busy) names.push("dismiss");
    if (names.join() === this.#shown) return;
    this.#shown = names.join();
    const { buttons } = this.#parts;
    const held = buttons.contains(document.activeElement);
    buttons.replaceChildren(...names.map((name) => this.#button(name)));
    if (held) buttons.firstElementChild.focus();
  }

  #button(name) {
    const press = async () => {
      showProblem(this.#parts.problem, null);
      if (name === "dismiss") return this.#actions.dismissed();
      if (name === "cancel") this.#actions.stop();
      return this.#change(name);
    };
    return el("button", { type: "button", class: "quiet small", on: { click: press } }, LABELS[name]);
  }

  async #change(deed) {
    try {
      this.#take(await call(`/v1/batches/${encodeURIComponent(this.id)}/${deed}`, { method: "POST" }));
    } catch (error) {
      showProblem(this.#parts.problem, error);
    }
    this.follow();
  }
}

const LABELS = { cancel: "Cancel all", retry: "Try the rest again", dismiss: "Dismiss" };
