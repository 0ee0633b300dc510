// One document in the list, from the moment its upload starts. Built once and then only changed, so that
// progress never takes the focus away from a button.

import { el } from "./elements.js";
import { day, jobStage, plural, size } from "./words.js";

const BROKEN = new Set(["failed", "quarantined"]);

export class FileRow {
  /** The server's file object; null while the file is still being sent. */
  file = null;
  job = null;

  #actions;
  #parts = {
    title: el("h3", { class: "row-title", dir: "auto" }),
    facts: el("p", { class: "row-facts" }),
    buttons: el("div", { class: "row-actions" }),
    words: el("p", { hidden: true }),
    bar: el("progress", { max: 100, hidden: true }),
    problem: el("p", { class: "problem", hidden: true }),
  };
  #shown = "";

  /** `actions`: share(row), remove(row), cancel(row), retry(row), dismiss(row). */
  constructor(name, actions) {
    this.name = name;
    this.#actions = actions;
    const { title, facts, buttons, words, bar, problem } = this.#parts;
    title.textContent = name;
    bar.setAttribute("aria-label", `Progress of ${name}`);
    this.element = el("li", { class: "row" }, title, buttons, facts, el("div", { class: "row-state" }, words, bar, problem));
  }

  /** What the filter looks at. */
  get searchable() {
    return `${this.name} ${this.file?.x_owner?.label ?? ""}`.toLowerCase();
  }

  /** Show that `sent` of `total` bytes have left; all of them may still have to be checked. */
  sending(sent, total) {
    this.#progress(sent < total ? `Sending · ${size(sent)} of ${size(total)}` : "Sent; being checked and encrypted", sent, total);
    this.#buttons("sending", ["cancel"]);
  }

  /** Show that the upload waits for others. */
  waiting() {
    this.#progress("Waiting to be sent", 0, 1);
    this.#buttons("sending", ["cancel"]);
  }

  /** Show what the server knows about the file. */
  update(file) {
    this.file = file;
    this.name = file.filename;
    this.#parts.title.textContent = file.filename;
    this.#facts();
    if (file.status === "processed") this.#ready();
    else if (file.status === "error") this.failed({ message: file.status_details || "This document could not be read." });
  }

  /** Show what the file's job is doing. */
  work(job) {
    this.job = job;
    if (BROKEN.has(job.state)) return this.failed(job.reason ?? { message: "This document could not be read." });
    if (job.state === "cancelled") return this.failed({ message: "Reading this document was cancelled." });
    if (job.state === "succeeded") return this.#ready();
    this.#progress(jobStage(job), job.done, job.total);
    return this.#buttons("working", this.#ifMine(["cancel"]));
  }

  /** Show why it did not work, with what can be done. */
  failed({ message, hint = null }) {
    this.#parts.words.hidden = true;
    this.#parts.bar.hidden = true;
    this.#parts.problem.hidden = false;
    this.#parts.problem.replaceChildren(message, hint ? el("span", { class: "hint" }, hint) : "");
    this.#buttons(this.file ? "broken" : "unsent", this.file ? this.#ifMine(["retry", "remove"]) : ["dismiss"]);
  }

  #ready() {
    for (const part of ["words", "bar", "problem"]) this.#parts[part].hidden = true;
    this.#buttons("ready", ["download", ...this.#ifMine(["share", "remove"])]);
  }

  #ifMine(names) {
    return this.file.x_owner.me ? names : [];
  }

  #progress(words, done, total) {
    this.#parts.problem.hidden = true;
    this.#parts.words.hidden = false;
    this.#parts.words.textContent = words;
    this.#parts.bar.hidden = false;
    if (total) this.#parts.bar.value = (100 * done) / total;
    else this.#parts.bar.removeAttribute("value");
  }

  #facts() {
    const { bytes, created_at: created, x_passages: passages, x_owner: owner, x_shared_with: shared } = this.file;
    const facts = [
      owner.me ? "Yours" : `From ${owner.label}`,
      sharedWords(shared ?? [], owner.me),
      pagesWords(this.file),
      passages ? plural(passages, "passage") : null,
      size(bytes),
      day(created),
    ];
    this.#parts.facts.replaceChildren(...facts.filter(Boolean).map((fact) => el("span", { dir: "auto" }, fact)));
  }

  // Only another set of buttons replaces the old ones.
  #buttons(state, names) {
    if (state === this.#shown) return;
    this.#shown = state;
    this.#parts.buttons.replaceChildren(...names.map((name) => this.#button(name)));
  }

  #button(name) {
    const label = `${LABELS[name]} ${this.name}`;
    if (name === "download") {
      const href = `/v1/files/${encodeURIComponent(this.file.id)}/content`;
      return el("a", { class: "button quiet small", href, download: "", "aria-label": label }, LABELS[name]);
    }
    const press = () => this.#actions[name](this);
    return el("button", { type: "button", class: "quiet small", "aria-label": label, on: { click: press } }, LABELS[name]);
  }
}

const LABELS = {
  cancel: "Cancel",
  dismiss: "Dismiss",
  download: "Download",
  remove: "Delete",
  retry: "Try again",
  share: "Share",
};

function pagesWords({ x_pages: pages, x_media_type: type }) {
  if (!pages) return null;
  if (type.includes("presentation")) return plural(pages, "slide");
  return plural(pages, type.includes("spreadsheet") ? "sheet" : "page");
}

function sharedWords(shared, mine) {
  if (shared.length === 0) return mine ? "Only you" : null;
  const [first, ...others] = shared.map(({ label }) => label);
  return `Shared with ${first}${others.length ? ` and ${plural(others.length, "other")}` : ""}`;
}
