// The collections that the person may read, as filters above the documents.

import { call } from "./api.js";
import { el } from "./elements.js";
import { count, plural } from "./words.js";

const PAGE = 100;

/** What can be chosen beside a collection's id: every document, or those in no collection. */
export const ALL = "all";
export const LOOSE = "none";

export class CollectionList {
  /** The id of the chosen collection, ALL or LOOSE. */
  selected = new URLSearchParams(location.search).get("collection") ?? ALL;

  #place;
  #chosen;
  #curates;
  #byId = new Map();
  #shown = "";
  #loads = 0;

  /** `place` is the list element; `chosen()` is called when another filter is in force. */
  constructor(place, chosen) {
    this.#place = place;
    this.#chosen = chosen;
    this.#curates = "curator" in place.dataset;
  }

  /** The chosen collection; null while it is none. */
  get collection() {
    return this.#byId.get(this.selected) ?? null;
  }

  /** Every collection, by name. */
  get all() {
    return [...this.#byId.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  /** The collection with this id; null when there is none that the person may read. */
  get(id) {
    return this.#byId.get(id) ?? null;
  }

  /** Say whether the person may add documents to `collection`: its owner may, and a curator. */
  mayFill(collection) {
    return collection.x_owner.me || this.#curates;
  }

  /** Say whether what stands in `collectionId` (null: in none) passes the filter. */
  shows(collectionId) {
    if (this.selected === ALL) return true;
    return this.selected === LOOSE ? collectionId === null : collectionId === this.selected;
  }

  /** Read the collections again; one that is not theirs any more disappears. Throws an ApiError. */
  async load() {
    const turn = ++this.#loads;
    const found = await everyPage();
    // An earlier, slower answer must not overwrite a later one.
    if (turn !== this.#loads) return;
    this.#byId = new Map(found.map((collection) => [collection.id, collection]));
    if (this.selected !== LOOSE && !this.collection) this.selected = ALL;
    if (found.length === 0) this.selected = ALL;
    this.#show();
    this.#chosen();
  }

  /** Put a filter in force; it stays in the page's address. */
  select(selection) {
    this.selected = selection;
    const query = selection === ALL ? "" : `?collection=${encodeURIComponent(selection)}`;
    history.replaceState(history.state, "", `${location.pathname}${query}`);
    this.#show();
    this.#chosen();
  }

  #show() {
    const entries = this.all.map((collection) => [collection.id, collection.name, collection.file_counts.total]);
    const filters = [[ALL, "All"], [LOOSE, "Not in a collection"], ...entries];
    const now = JSON.stringify([this.selected, filters]);
    if (now === this.#shown) return;
    this.#shown = now;
    const held = this.#place.contains(document.activeElement) ? document.activeElement.dataset.selection : null;
    this.#place.hidden = entries.length === 0;
    this.#place.replaceChildren(...filters.map((filter) => this.#filter(...filter)));
    // The focus stays where it was, although its button was made anew.
    const buttons = [...this.#place.querySelectorAll("button")];
    if (held !== null) (buttons.find(({ dataset }) => dataset.selection === held) ?? buttons[0]).focus();
  }

  #filter(selection, name, total) {
    const attributes = {
      type: "button",
      class: "pill",
      "aria-pressed": String(selection === this.selected),
      "aria-label": total === undefined ? null : `${name}, ${plural(total, "document")}`,
      data: { selection },
      on: { click: () => this.select(selection) },
    };
    const tally = total === undefined ? null : el("span", { class: "tally" }, count(total));
    return el("li", {}, el("button", attributes, el("span", { dir: "auto" }, name), tally));
  }
}

async function everyPage() {
  const found = [];
  for (let more = true; more;) {
    const after = found.length ? `&after=${encodeURIComponent(found.at(-1).id)}` : "";
    const page = await call(`/v1/vector_stores?limit=${PAGE}${after}`);
    found.push(...page.data);
    more = page.has_more;
  }
  return found;
}
