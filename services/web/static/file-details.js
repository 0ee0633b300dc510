// Everything that is known about one document: what it is, where else it was found, what resembles it, and what
// of it could not be read.

import { call } from "./api.js";
import { closable, el, showProblem } from "./elements.js";
import { hiddenWords, kindWords, sourceWords, unreadReason } from "./ingestion-words.js";
import { count, plural, size, when } from "./words.js";

/** The address of the documents page with one document's details open. */
export const detailsAddress = (id) => `/documents?file=${encodeURIComponent(id)}`;

export class FileDetails {
  #dialog;
  #title;
  #body;
  #problem;
  #hidden;
  #turn = 0;

  /** `hidden` is the dialog of hidden texts, with `mayOpen(file)` and `open(file)`. */
  constructor(dialog, hidden) {
    this.#dialog = dialog;
    this.#hidden = hidden;
    this.#title = dialog.querySelector("h2");
    this.#body = dialog.querySelector(".details-body");
    this.#problem = dialog.querySelector(".problem");
    closable(dialog);
  }

  /** Show the document with this id, called `name` until the server says. */
  async open(id, name = "") {
    const turn = ++this.#turn;
    this.#title.textContent = name || "Document";
    this.#body.replaceChildren(el("p", { class: "soft" }, "Looking it up…"));
    this.#dialog.setAttribute("aria-busy", "true");
    showProblem(this.#problem, null);
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      const file = await call(`/v1/files/${encodeURIComponent(id)}`);
      if (turn === this.#turn) this.#show(file);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#body.replaceChildren();
      showProblem(this.#problem, error);
    } finally {
      if (turn === this.#turn) this.#dialog.setAttribute("aria-busy", "false");
    }
  }

  #show(file) {
    this.#title.textContent = file.filename;
    const sections = [factsOf(file), this.#unseen(file), unreadIn(file), placesOf(file), this.#similar(file)];
    this.#body.replaceChildren(...sections.filter(Boolean));
    // A link that was followed is gone; the new document begins at its name.
    if (!this.#dialog.contains(document.activeElement)) this.#title.focus();
  }

  #unseen(file) {
    const words = hiddenWords(file);
    if (!words) return null;
    const show = el("button", { type: "button", class: "quiet small", "aria-haspopup": "dialog", on: { click: () => this.#hidden.open(file) } }, "Show them");
    return section(
      "Hidden texts",
      el("p", {}, `${words}, which a reader of the original does not see, ${file.x_hidden_texts === 1 ? "is" : "are"} kept apart from answers.`),
      this.#hidden.mayOpen(file) ? show : null,
    );
  }

  #similar({ x_similar: similar }) {
    if (!similar?.length) return null;
    const follow = (event, other) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      this.open(other.id, other.filename);
    };
    const entries = similar.map((other) => el(
      "li",
      {},
      el("a", { href: detailsAddress(other.id), dir: "auto", on: { click: (event) => follow(event, other) } }, other.filename),
      el("span", { class: "soft" }, ` ${Math.round(other.similarity * 100)}% alike`),
    ));
    return section("Nearly the same", el("ul", { class: "plain" }, ...entries));
  }
}

function section(title, ...content) {
  return el("section", { class: "details-part" }, el("h3", {}, title), ...content);
}

function factsOf(file) {
  const facts = [
    ["Kind", kindWords(file.x_media_type)],
    ["Size", size(file.bytes)],
    ["Pages", file.x_pages ? count(file.x_pages) : null],
    ["Passages", file.x_passages ? count(file.x_passages) : null],
    ["Version", file.x_version > 1 ? count(file.x_version) : null],
    ["Added", when(file.created_at)],
    ["Owner", file.x_owner.me ? "You" : file.x_owner.label],
    ["Collection", file.x_collection?.name ?? null],
  ];
  const filled = facts.filter(([, value]) => value !== null);
  return el("dl", { class: "facts" }, ...filled.flatMap(([term, value]) => [el("dt", {}, term), el("dd", { dir: "auto" }, value)]));
}

function unreadIn({ x_unread: unread }) {
  if (!unread?.length) return null;
  const entries = unread.map(({ name, reason }) => el("li", {}, el("span", { dir: "auto" }, name), el("span", { class: "soft" }, ` ${unreadReason(reason)}`)));
  return section(`${plural(unread.length, "file")} within could not be read`, el("ul", { class: "plain" }, ...entries));
}

function placesOf({ x_other_places: places }) {
  if (!places?.length) return null;
  const entries = places.map(({ source, name }) => el("li", {}, el("span", { dir: "auto" }, name), el("span", { class: "soft" }, ` ${sourceWords(source)}`)));
  return section("The same content also as", el("ul", { class: "plain" }, ...entries));
}
