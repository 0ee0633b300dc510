// The panel beside the chat. On a wide screen the chat stays usable next to it; on a narrow one it
// covers everything and is modal. Focus goes in when it opens and back to the button when it closes.

import { el } from "./elements.js";
import { showSource } from "./source-view.js";

const WIDE = window.matchMedia("(min-width: 60rem)");

export class SourcePanel {
  #dialog;
  #title;
  #body;
  #opener = null;
  #loading = null;

  constructor(dialog) {
    this.#dialog = dialog;
    this.#title = dialog.querySelector("h2");
    this.#body = dialog.querySelector("[data-source]");
    dialog.querySelector("[data-close]").addEventListener("click", () => this.close());
    dialog.addEventListener("close", () => this.#closed());
    // A dialog that is not modal does not listen to Escape by itself.
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && dialog.open && !document.querySelector("dialog:modal")) this.close();
    });
  }

  /** Show the source of `citation`; `opener` is the button that gets the focus back. */
  async open(citation, opener) {
    this.#opener?.setAttribute("aria-expanded", "false");
    this.#opener = opener;
    opener.setAttribute("aria-expanded", "true");
    this.#title.textContent = citation.file.name;
    this.#title.dir = "auto";
    this.#body.replaceChildren(el("p", { class: "soft", role: "status" }, "Opening the passage…"));
    this.#show();
    this.#title.focus();
    await this.#load(citation);
  }

  close() {
    this.#dialog.close();
  }

  #show() {
    if (this.#dialog.open) return;
    if (WIDE.matches) this.#dialog.show();
    else this.#dialog.showModal();
    document.body.classList.add("beside");
  }

  async #load(citation) {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    try {
      await showSource(this.#body, citation.id, citation.span, { signal: loading.signal });
      this.#body.scrollTop = 0;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#body.replaceChildren(
        el("p", { class: "problem", role: "alert" }, error.message, error.hint ? el("span", { class: "hint" }, error.hint) : null),
        // The quote was part of the answer already; only the document may have gone since.
        el("p", { class: "soft" }, "What the answer quoted:"),
        el("blockquote", { dir: "auto" }, citation.quote),
      );
    }
  }

  #closed() {
    this.#loading?.abort();
    document.body.classList.remove("beside");
    this.#opener?.setAttribute("aria-expanded", "false");
    if (this.#opener?.isConnected) this.#opener.focus();
    this.#opener = null;
  }
}
