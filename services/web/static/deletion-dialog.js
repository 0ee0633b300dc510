// Delete something of one's own, after saying what that means.

import { call } from "./api.js";
import { closable, showProblem } from "./elements.js";

export class DeletionDialog {
  #dialog;
  #problem;
  #item = null;
  #busy = false;

  /** `addressOf(item)` is what is deleted; `removed(item)` is called when it is not there any more. */
  constructor(dialog, addressOf, removed) {
    this.#dialog = dialog;
    this.#problem = dialog.querySelector(".problem");
    closable(dialog);
    dialog.querySelector(".danger").addEventListener("click", async () => {
      if (this.#busy) return;
      this.#busy = true;
      await this.#remove(addressOf, removed);
      this.#busy = false;
    });
  }

  /** Ask whether `item` shall go; it has a `name`. */
  open(item) {
    this.#item = item;
    this.#dialog.querySelector("strong").textContent = item.name;
    showProblem(this.#problem, null);
    this.#dialog.showModal();
  }

  async #remove(addressOf, removed) {
    const item = this.#item;
    try {
      await call(addressOf(item), { method: "DELETE" });
    } catch (error) {
      // Whatever is gone already is as it should be.
      if (error.status !== 404) {
        showProblem(this.#problem, error);
        return;
      }
    }
    // Closing gives the focus back to the item's button, from where it moves on with the item.
    this.#dialog.close();
    await removed(item);
  }
}
