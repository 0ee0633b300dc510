// The texts of a document that a reader of the original does not see: for its owner and for curators.

import { call } from "./api.js";
import { closable, el, showProblem } from "./elements.js";
import { hiddenReason, placeWords } from "./ingestion-words.js";
import { count } from "./words.js";

export class HiddenTexts {
  #dialog;
  #list;
  #note;
  #problem;
  #curates;
  #turn = 0;

  /** `curates` says whether the person is a curator, who may see those of every document that they may read. */
  constructor(dialog, curates) {
    this.#dialog = dialog;
    this.#curates = curates;
    this.#list = dialog.querySelector("ul");
    this.#note = dialog.querySelector("[role=status]");
    this.#problem = dialog.querySelector(".problem");
    closable(dialog);
  }

  /** Say whether the person may see what is hidden in `file`. */
  mayOpen(file) {
    return this.#curates || file.x_owner.me;
  }

  /** Show what is hidden in `file`. */
  async open(file) {
    const turn = ++this.#turn;
    this.#dialog.querySelector(".share-name").textContent = file.filename;
    this.#list.replaceChildren();
    this.#note.textContent = "Opening them…";
    showProblem(this.#problem, null);
    this.#dialog.showModal();
    try {
      const { data, total } = await call(`/v1/files/${encodeURIComponent(file.id)}/hidden`);
      if (turn !== this.#turn) return;
      this.#list.replaceChildren(...data.map(entry));
      this.#note.textContent = data.length < total ? `The first ${count(data.length)} of ${count(total)} are shown.` : "";
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#note.textContent = "";
      showProblem(this.#problem, error);
    }
  }
}

function entry({ reason, text, place }) {
  const at = placeWords(place);
  return el(
    "li",
    {},
    el("p", { class: "row-facts" }, el("span", {}, hiddenReason(reason)), at ? el("span", { dir: "auto" }, at) : null),
    el("p", { class: "hidden-text", dir: "auto" }, text),
  );
}
