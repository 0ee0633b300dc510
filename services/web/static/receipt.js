// Show an answer's receipt: what it is called in the record, and the proof that it is in there.

import { call } from "./api.js";
import { closable, copyButton, el } from "./elements.js";

// Entries are sealed a moment after they were written; whoever is quicker gets the proof all the same.
const PAUSE_MS = 400;
const TRIES = 8;

export class ReceiptDialog {
  #dialog;
  #body;

  constructor(dialog) {
    this.#dialog = dialog;
    this.#body = dialog.querySelector("#receipt-body");
    closable(dialog);
  }

  /** Fetch and show the receipt of `answer`. */
  async open(answer) {
    this.#body.replaceChildren(el("p", { class: "soft", role: "status" }, "Fetching the receipt…"));
    this.#dialog.showModal();
    try {
      this.#show(answer, await sealedReceipt(answer.id));
    } catch (error) {
      this.#body.replaceChildren(el("p", { class: "problem", role: "alert" }, error.message, error.hint ? el("span", { class: "hint" }, error.hint) : null));
    }
  }

  #show(answer, receipt) {
    const link = "auditor" in this.#dialog.dataset;
    this.#body.replaceChildren(
      el(
        "dl",
        { class: "facts" },
        ...fact("Entry", el("code", {}, receipt.id)),
        ...fact("Hash", el("code", {}, receipt.leaf_hash)),
        ...fact("Sealed", receipt.sealed ? `yes, as entry no. ${receipt.index}` : "not yet; look again in a moment"),
      ),
      el(
        "div",
        { class: "actions start" },
        copyButton(JSON.stringify(receipt, null, 2), "Copy receipt"),
        link ? el("a", { class: "button", href: `/record?corr=${encodeURIComponent(answer.id)}` }, "Show its events") : null,
      ),
    );
  }
}

async function sealedReceipt(id) {
  for (let left = TRIES; ; left -= 1) {
    const receipt = await call(`/v1/answers/${encodeURIComponent(id)}/receipt`).catch((error) => {
      if (error.status !== 404 || left === 0) throw error;
      return null;
    });
    if (receipt?.sealed || (receipt && left === 0)) return receipt;
    await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });
  }
}

function fact(name, value) {
  return [el("dt", {}, name), el("dd", {}, value)];
}
