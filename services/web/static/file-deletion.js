// Delete a document of one's own, after saying what that means.

import { call } from "./api.js";
import { closable, showProblem } from "./elements.js";

export class FileDeletion {
  #dialog;
  #problem;
  #row = null;
  #busy = false;

  /** `removed(row)` is called when the row's file is not there any more. */
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

  /** Ask whether the file of `row` shall go. */
  open(row) {
    this.#row = row;
    this.#dialog.querySelector("strong").textContent = row.name;
    showProblem(this.#problem, null);
    this.#dialog.showModal();
  }

  async #remove(removed) {
    const row = this.#row;
    try {
      await call(`/v1/files/${encodeURIComponent(row.file.id)}`, { method: "DELETE" });
    } catch (error) {
      // Whatever is gone already is as it should be.
      if (error.status !== 404) {
        showProblem(this.#problem, error);
        return;
      }
    }
    // Closing gives the focus back to the row's button, from where it moves on with the row.
    this.#dialog.close();
    removed(row);
  }
}
