// Who may read one document: the people and groups it is shared with, and a search for more.

import { call } from "./api.js";
import { closable, el, icon, showProblem } from "./elements.js";

const PAUSE_MS = 150;

export class ShareDialog {
  #dialog;
  #parts;
  #row = null;
  #changed;
  #timer;
  #searches = 0;

  /** `changed(row)` is called after each change, when the row's file object is out of date. */
  constructor(dialog, changed) {
    this.#dialog = dialog;
    this.#changed = changed;
    this.#parts = {
      name: dialog.querySelector("#share-name"),
      list: dialog.querySelector("#shared-with"),
      search: dialog.querySelector("#share-search"),
      found: dialog.querySelector("#share-found"),
      status: dialog.querySelector("#share-status"),
      problem: dialog.querySelector(".problem"),
    };
    closable(dialog);
    this.#parts.search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), PAUSE_MS);
    });
  }

  /** Open for `row`, whose file belongs to the person. */
  open(row) {
    this.#row = row;
    this.#parts.name.textContent = row.name;
    this.#parts.search.value = "";
    this.#parts.status.textContent = "";
    showProblem(this.#parts.problem, null);
    this.#showShared();
    this.#dialog.showModal();
    this.#parts.search.focus();
    this.#search();
  }

  #shared() {
    return this.#row.file.x_shared_with ?? [];
  }

  #showShared() {
    const chips = this.#shared().map((principal) =>
      el(
        "li",
        { class: "chip" },
        el("span", { dir: "auto" }, principal.label),
        el("button", { type: "button", "aria-label": `Stop sharing with ${principal.label}`, on: { click: () => this.#set(principal, "DELETE") } }, icon("cross")),
      ),
    );
    this.#parts.list.replaceChildren(...(chips.length ? chips : [el("li", { class: "soft" }, "Only you, so far.")]));
  }

  async #search() {
    const turn = ++this.#searches;
    try {
      const { data } = await call(`/v1/principals?q=${encodeURIComponent(this.#parts.search.value.trim())}`);
      // An earlier, slower search must not overwrite a later one.
      if (turn === this.#searches) this.#showFound(data);
    } catch (error) {
      showProblem(this.#parts.problem, error);
    }
  }

  #showFound(principals) {
    const taken = new Set(this.#shared().map(({ id }) => id));
    const free = principals.filter(({ id }) => !taken.has(id)).slice(0, 20);
    const choices = free.map((principal) =>
      el("li", {}, el("button", { type: "button", dir: "auto", on: { click: () => this.#set(principal, "PUT") } }, `Add ${principal.label}`)),
    );
    this.#parts.found.replaceChildren(...(choices.length ? choices : [el("li", { class: "soft small" }, "Nobody else by that name.")]));
  }

  async #set(principal, method) {
    showProblem(this.#parts.problem, null);
    const address = `/v1/files/${encodeURIComponent(this.#row.file.id)}/shares/${encodeURIComponent(principal.id)}`;
    try {
      await call(address, { method });
      await this.#changed(this.#row);
    } catch (error) {
      showProblem(this.#parts.problem, error);
      return;
    }
    this.#parts.status.textContent = method === "PUT" ? `${principal.label} can read it now.` : `${principal.label} can no longer read it.`;
    this.#showShared();
    await this.#search();
    // The button that was pressed is gone; the search field is the next sensible place.
    this.#parts.search.focus();
  }
}
