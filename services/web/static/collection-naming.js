// Ask for the name of a new collection, or another one for one's own.

import { call } from "./api.js";
import { closable, showProblem } from "./elements.js";

export class CollectionNaming {
  #dialog;
  #parts;
  #collection = null;
  #named;
  #busy = false;

  /** `named(collection, isNew)` is called with what the server made of it; `gone()` when it is not there any more. */
  constructor(dialog, { named, gone }) {
    this.#dialog = dialog;
    this.#named = named;
    const part = (name) => dialog.querySelector(name);
    this.#parts = { title: part("h2"), hint: part("#name-hint"), name: part("input"), save: part("[type=submit]"), problem: part(".problem") };
    closable(dialog);
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      if (this.#busy) return;
      this.#busy = true;
      await this.#save(gone);
      this.#busy = false;
    });
  }

  /** Open for `collection`, or for a new one with null. */
  open(collection = null) {
    this.#collection = collection;
    const { title, hint, name, save, problem } = this.#parts;
    title.textContent = collection ? "Rename this collection" : "New collection";
    save.textContent = collection ? "Rename" : "Create";
    hint.hidden = collection !== null;
    name.value = collection?.name ?? "";
    showProblem(problem, null);
    this.#dialog.showModal();
    name.select();
  }

  async #save(gone) {
    const before = this.#collection;
    const address = before ? `/v1/vector_stores/${encodeURIComponent(before.id)}` : "/v1/vector_stores";
    try {
      const collection = await call(address, { method: "POST", json: { name: this.#parts.name.value } });
      this.#dialog.close();
      await this.#named(collection, before === null);
    } catch (error) {
      if (before && error.status === 404) {
        this.#dialog.close();
        gone();
      } else showProblem(this.#parts.problem, error);
    }
  }
}
