// Put a document into a collection, or take it out of the one it stands in.

import { call } from "./api.js";
import { closable, el, showProblem } from "./elements.js";

export class CollectionPlacing {
  #dialog;
  #parts;
  #row = null;
  #collections;
  #placed;
  #changed;
  #busy = false;

  /**
   * `collections` is the CollectionList; `placed(row, collection)` is called afterwards, with null for none, and
   * `changed(row)` when the page turns out to be older than what the server knows.
   */
  constructor(dialog, collections, { placed, changed }) {
    this.#dialog = dialog;
    this.#collections = collections;
    this.#placed = placed;
    this.#changed = changed;
    const part = (name) => dialog.querySelector(name);
    this.#parts = {
      title: part("h2"),
      name: part("#place-name"),
      rule: part("#place-rule"),
      choices: part("#place-choices"),
      out: part("#place-out"),
      problem: part(".problem"),
    };
    this.#parts.out.addEventListener("click", () => this.#takeOut());
    closable(dialog);
  }

  /** Open for `row`, whose file belongs to the person, or stands in a collection of theirs. */
  open(row) {
    this.#row = row;
    const { name, choices, out, problem } = this.#parts;
    const within = row.file.x_collection;
    name.textContent = row.name;
    showProblem(problem, null);
    choices.hidden = within !== null;
    out.hidden = within === null;
    if (within) this.#offerToTakeOut(within);
    else this.#offerCollections();
    this.#dialog.showModal();
  }

  #offerToTakeOut(within) {
    const { title, rule } = this.#parts;
    const { x_owner: owner } = this.#row.file;
    title.textContent = "Take it out of its collection?";
    rule.textContent = owner.me
      ? `Outside of “${within.name}” you alone can read it, until you share it. Its labels stay.`
      : `Outside of “${within.name}” its owner, ${owner.label}, alone can read it. It leaves your list.`;
  }

  #offerCollections() {
    const { title, rule, choices } = this.#parts;
    const open = this.#collections.all.filter((collection) => this.#collections.mayFill(collection));
    title.textContent = "Put it into which collection?";
    rule.textContent = open.length
      ? "The collection’s readers become its readers. Whom it is shared with by itself no longer counts."
      : "You can add to your own collections only, and have none yet.";
    choices.replaceChildren(...open.map((collection) => {
      const put = { type: "button", dir: "auto", on: { click: () => this.#putInto(collection) } };
      return el("li", {}, el("button", put, collection.name));
    }));
  }

  #putInto(collection) {
    return this.#change(collection, `${addressOf(collection.id)}/files`, { method: "POST", json: { file_id: this.#row.file.id } });
  }

  #takeOut() {
    const { id, x_collection: within } = this.#row.file;
    return this.#change(null, `${addressOf(within.id)}/files/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  async #change(collection, path, options) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await call(path, options);
      this.#dialog.close();
      await this.#placed(this.#row, collection);
    } catch (error) {
      if (error.status === 404) await this.#changed(this.#row);
      if (this.#row.element.isConnected) showProblem(this.#parts.problem, error);
      else this.#dialog.close();
    } finally {
      this.#busy = false;
    }
  }
}

function addressOf(collectionId) {
  return `/v1/vector_stores/${encodeURIComponent(collectionId)}`;
}
