// Remove a collection of one's own, after saying what becomes of its documents.

import { call } from "./api.js";
import { closable, showProblem } from "./elements.js";

export class CollectionDeletion {
  #dialog;
  #problem;
  #collection = null;
  #busy = false;

  /** `removed(collection)` is called when it is not there any more. */
  constructor(dialog, removed) {
    this.#dialog = dialog;
    this.#problem = dialog.querySelector(".problem");
    closable(dialog);
    dialog.querySelector(".danger").addEventListener("click", async () => {
      if (this.#busy) return;
      this.#busy = true;
      await this.#remove(removed);
      this.#busy = false;
    });
  }

  /** Ask whether `collection` shall go. */
  open(collection) {
    this.#collection = collection;
    this.#dialog.querySelector("strong").textContent = collection.name;
    showProblem(this.#problem, null);
    this.#dialog.showModal();
  }

  async #remove(removed) {
    const collection = this.#collection;
    try {
      await call(`/v1/vector_stores/${encodeURIComponent(collection.id)}`, { method: "DELETE" });
    } catch (error) {
      if (error.status !== 404) {
        showProblem(this.#problem, error);
        return;
      }
    }
    this.#dialog.close();
    await removed(collection);
  }
}
