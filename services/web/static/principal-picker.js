// One list of people and groups: who stands in it, and a search for more. It changes nothing by itself.

import { call } from "./api.js";
import { el, icon } from "./elements.js";

const PAUSE_MS = 150;
const MOST_FOUND = 20;

export class PrincipalPicker {
  #parts;
  #words;
  #actions;
  #listed = [];
  #timer;
  #searches = 0;

  /**
   * Build the list into `place`. `words` holds `list` and `search` (labels), `none` (for an empty list), and
   * `add(label)` and `remove(label)` (the buttons' names); `actions` add(principal), remove(principal), and
   * failed(error) for a search that did not work.
   */
  constructor(place, words, actions) {
    this.#words = words;
    this.#actions = actions;
    const id = `${place.id}-search`;
    this.#parts = {
      list: el("ul", { class: "chips", "aria-label": words.list }),
      search: el("input", { id, type: "search", autocomplete: "off", placeholder: "Name, or “Everyone”" }),
      found: el("ul", { class: "choices", "aria-label": "Found" }),
    };
    const { list, search, found } = this.#parts;
    place.append(list, el("div", { class: "field" }, el("label", { for: id }, words.search), search), found);
    search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.search(), PAUSE_MS);
    });
  }

  /** Begin anew, with nobody listed and nothing looked for. */
  reset() {
    clearTimeout(this.#timer);
    this.#searches += 1;
    this.#listed = [];
    this.#parts.search.value = "";
    this.#parts.list.replaceChildren();
    this.#parts.found.replaceChildren();
  }

  /** Show who stands in the list now. */
  show(principals) {
    this.#listed = principals;
    const chips = principals.map((principal) => {
      const remove = { "aria-label": this.#words.remove(principal.label), on: { click: () => this.#actions.remove(principal) } };
      return el("li", { class: "chip" }, el("span", { dir: "auto" }, principal.label), el("button", { type: "button", ...remove }, icon("cross")));
    });
    this.#parts.list.replaceChildren(...(chips.length ? chips : [el("li", { class: "soft" }, this.#words.none)]));
  }

  /** Look for those who match what was typed, and offer them. */
  async search() {
    const turn = ++this.#searches;
    try {
      const { data } = await call(`/v1/principals?q=${encodeURIComponent(this.#parts.search.value.trim())}`);
      // An earlier, slower search must not overwrite a later one.
      if (turn === this.#searches) this.#offer(data);
    } catch (error) {
      this.#actions.failed(error);
    }
  }

  /** Put the focus where typing makes sense: a button that was pressed is gone afterwards. */
  focus() {
    this.#parts.search.focus();
  }

  #offer(principals) {
    const taken = new Set(this.#listed.map(({ id }) => id));
    const choices = principals.filter(({ id }) => !taken.has(id)).slice(0, MOST_FOUND).map((principal) => {
      const add = { type: "button", dir: "auto", on: { click: () => this.#actions.add(principal) } };
      return el("li", {}, el("button", add, this.#words.add(principal.label)));
    });
    this.#parts.found.replaceChildren(...(choices.length ? choices : [el("li", { class: "soft small" }, "Nobody else by that name.")]));
  }
}
