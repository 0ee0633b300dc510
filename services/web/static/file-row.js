// One document in the list, from the moment its upload starts. Built once and then only changed, so that
// progress never takes the focus away from a button.

import { labelWords, sharedWords } from "./access-words.js";
import { el } from "./elements.js";
import { detailsAddress } from "./file-details.js";
import { arrivalWords, hiddenWords, REPLACED, unreadWords } from "./ingestion-words.js";
import { day, jobStage, plural, size } from "./words.js";

const BROKEN = new Set(["failed", "quarantined"]);

export class FileRow {
  /** The server's file object; null while the file is still being sent. */
  file = null;
  job = null;

  #actions;
  #aim;
  #sent;
  #replaces = false;
  #parts = {
    title: el("h3", { class: "row-title", dir: "auto" }),
    facts: el("p", { class: "row-facts" }),
    buttons: el("div", { class: "row-actions" }),
    news: el("p", { class: "soft", hidden: true }),
    words: el("p", { hidden: true }),
    bar: el("progress", { max: 100, hidden: true }),
    problem: el("p", { class: "problem", hidden: true }),
  };
  #shown = "";

  /**
   * `actions`: download(row, event), details(row, event), hidden(row), share(row), move(row), remove(row),
   * cancel(row), retry(row), dismiss(row), governs(collectionId), which says whether the person owns that
   * collection, and uncovers(file), which says whether they may see its hidden texts. `aim` is the id of the
   * collection that a file which is still being sent goes into.
   */
  constructor(name, actions, aim = null) {
    this.name = name;
    this.#actions = actions;
    this.#aim = aim;
    this.#sent = name;
    const { title, facts, buttons, news, words, bar, problem } = this.#parts;
    title.textContent = name;
    bar.setAttribute("aria-label", `Progress of ${name}`);
    this.element = el("li", { class: "row" }, title, buttons, facts, el("div", { class: "row-state" }, news, words, bar, problem));
  }

  /** What the filter looks at. */
  get searchable() {
    return `${this.name} ${this.file?.x_owner?.label ?? ""}`.toLowerCase();
  }

  /** The id of the collection that it stands in, or will; null for none. */
  get collectionId() {
    return this.file ? (this.file.x_collection?.id ?? null) : this.#aim;
  }

  /** Show that `sent` of `total` bytes have left; all of them may still have to be checked. */
  sending(sent, total) {
    this.#progress(sent < total ? `Sending · ${size(sent)} of ${size(total)}` : "Sent; being checked and encrypted", sent, total);
    this.#buttons(["cancel"]);
  }

  /** Show that the connection broke, and that the upload goes on when it is back. */
  broken() {
    this.#parts.words.textContent = "The connection broke · trying again";
  }

  /** Show that the upload waits for others. */
  waiting() {
    this.#progress("Waiting to be sent", 0, 1);
    this.#buttons(["cancel"]);
  }

  /** Show what the server knows about the file. */
  update(file) {
    this.describe(file);
    if (file.status === "processed") this.#ready();
    else if (file.status === "error") this.failed({ message: file.status_details || "This document could not be read." });
  }

  /** Say what came of its upload, as `x_upload` tells it; returns the sentence, null when there is none. */
  arrived(file) {
    const words = arrivalWords(file.x_upload, this.#sent, file);
    this.#replaces = file.x_upload === "version";
    this.#parts.news.hidden = words === null;
    this.#parts.news.textContent = words ?? "";
    return words;
  }

  /** Show what the server knows about the file, and leave what its job is doing as it stands. */
  describe(file) {
    this.file = file;
    this.name = file.filename;
    this.#name();
    this.#facts();
  }

  /** Show what the file's job is doing. */
  work(job) {
    this.job = job;
    if (BROKEN.has(job.state)) return this.failed(job.reason ?? { message: "This document could not be read." });
    if (job.state === "cancelled") return this.failed({ message: "Reading this document was cancelled." });
    if (job.state === "succeeded") return this.#ready();
    this.#progress(jobStage(job), job.done, job.total);
    return this.#buttons(this.#ifMine(["cancel"]));
  }

  /** Show why it did not work, with what can be done. */
  failed({ message, hint = null }) {
    this.#parts.words.hidden = true;
    this.#parts.bar.hidden = true;
    this.#parts.problem.hidden = false;
    this.#parts.problem.replaceChildren(message, hint ? el("span", { class: "hint" }, hint) : "");
    this.#buttons(this.file ? this.#ifMine(["retry", "remove"]) : ["dismiss"]);
  }

  #ready() {
    if (this.job?.state === "succeeded" && this.#replaces) this.#parts.news.textContent = REPLACED;
    for (const part of ["words", "bar", "problem"]) this.#parts[part].hidden = true;
    const { x_owner: owner, x_collection: within } = this.file;
    if (owner.me) this.#buttons(["download", within ? "restrict" : "share", "move", "remove"]);
    else this.#buttons(within && this.#actions.governs(within.id) ? ["download", "takeOut"] : ["download"]);
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
    const { bytes, created_at: created, x_passages: passages, x_owner: owner, x_shared_with: shared, x_collection: within } = this.file;
    const facts = [
      owner.me ? "Yours" : `From ${owner.label}`,
      within ? `In ${within.name}` : sharedWords(shared ?? [], owner.me),
      ...labelWords(this.file.x_clearance, this.file.x_compartments),
      pagesWords(this.file),
      passages ? plural(passages, "passage") : null,
      size(bytes),
      day(created),
    ];
    const marks = [this.#hiddenMark(), this.#unreadMark()];
    const words = facts.filter(Boolean).map((fact) => el("span", { dir: "auto" }, fact));
    const held = this.#parts.facts.contains(document.activeElement);
    this.#parts.facts.replaceChildren(...words, ...marks.filter(Boolean));
    if (held) (this.#parts.facts.querySelector("a, button") ?? this.#parts.title.firstElementChild)?.focus();
  }

  #hiddenMark() {
    const words = hiddenWords(this.file);
    if (!words) return null;
    if (!this.#actions.uncovers(this.file)) return el("span", {}, words);
    const label = `${words} in ${this.name}`;
    const press = () => this.#actions.hidden(this);
    return el("button", { type: "button", class: "fact-button", "aria-haspopup": "dialog", "aria-label": label, on: { click: press } }, words);
  }

  #unreadMark() {
    const words = unreadWords(this.file);
    if (!words) return null;
    const press = (event) => this.#actions.details(this, event);
    return el("a", { href: detailsAddress(this.file.id), class: "warned", "aria-label": `${words} in ${this.name}`, on: { click: press } }, words);
  }

  // The name opens the details. Made once, so that it keeps the focus while the rest changes.
  #name() {
    const { title } = this.#parts;
    const link = title.querySelector("a");
    if (link) {
      link.textContent = this.name;
      link.href = detailsAddress(this.file.id);
      return;
    }
    const press = (event) => this.#actions.details(this, event);
    title.replaceChildren(el("a", { href: detailsAddress(this.file.id), on: { click: press } }, this.name));
  }

  // Only another set of buttons replaces the old ones; the focus stays with what was pressed.
  #buttons(names) {
    const shown = `${names.join(" ")} ${this.name}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const { buttons } = this.#parts;
    const held = buttons.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    buttons.replaceChildren(...names.map((name) => this.#button(name)));
    if (held !== null) (buttons.querySelector(`[data-name="${held}"]`) ?? buttons.firstElementChild)?.focus();
  }

  #button(name) {
    const label = `${LABELS[name]} ${this.name}`;
    if (name === "download") {
      const href = `/v1/files/${encodeURIComponent(this.file.id)}/content`;
      const follow = (event) => this.#actions.download(this, event);
      return el("a", { class: "button quiet small", href, download: "", "aria-label": label, data: { name }, on: { click: follow } }, LABELS[name]);
    }
    const press = () => this.#actions[ACTIONS[name] ?? name](this);
    return el("button", { type: "button", class: "quiet small", "aria-label": label, data: { name }, on: { click: press } }, LABELS[name]);
  }
}

const LABELS = {
  cancel: "Cancel",
  dismiss: "Dismiss",
  download: "Download",
  move: "Move",
  remove: "Delete",
  restrict: "Restrict",
  retry: "Try again",
  share: "Share",
  takeOut: "Take out",
};

// Buttons that do the same under another name.
const ACTIONS = { restrict: "share", takeOut: "move" };

function pagesWords({ x_pages: pages, x_media_type: type }) {
  if (!pages) return null;
  if (type.includes("presentation")) return plural(pages, "slide");
  return plural(pages, type.includes("spreadsheet") ? "sheet" : "page");
}
