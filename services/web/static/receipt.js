// Show an answer's receipt: what it is called in the record, and the proof that it is in there.

import { call } from "./api.js";
import { closable, copyButton, el } from "./elements.js";

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
      const address = answer.receipt_url ?? `/v1/answers/${encodeURIComponent(answer.id)}/receipt`;
      // The address comes with the answer; only its path counts, so that it cannot lead elsewhere.
      this.#show(answer, await call(new URL(address, location.href).pathname));
    } catch (error) {
      this.#body.replaceChildren(el("p", { class: "problem", role: "alert" }, error.message, error.hint ? el("span", { class: "hint" }, error.hint) : null));
    }
  }

  #show(answer, receipt) {
    const sealed = receipt.index !== undefined && receipt.index !== null;
    const link = "auditor" in this.#dialog.dataset;
    this.#body.replaceChildren(
      el(
        "dl",
        { class: "facts" },
        ...fact("Entry", el("code", {}, receipt.id)),
        ...fact("Hash", el("code", {}, receipt.leaf_hash)),
        ...fact("Sealed", sealed ? `yes, as entry no. ${receipt.index}` : "not yet; look again in a second"),
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

function fact(name, value) {
  return [el("dt", {}, name), el("dd", {}, value)];
}
