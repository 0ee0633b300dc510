// Titles of documents to ask about, while nothing much has been typed. Their place is always there, so that
// nothing moves when they come and go.

import { call } from "./api.js";
import { el } from "./elements.js";

const SHOWN = 5;
const SHORT = 24;
const PAUSE_MS = 150;

export class Suggestions {
  #parts;
  #question;
  #choose;
  #timer;
  #asking = null;
  #asked = null;

  /** Fill `place` with what fits the text in `question`; `choose(title)` is called with the chosen one. */
  constructor(place, question, choose) {
    this.#parts = { place, title: place.querySelector("p"), list: place.querySelector("ul") };
    this.#question = question;
    this.#choose = choose;
    question.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), PAUSE_MS);
    });
  }

  /** Show what fits the text as it is now; nothing where the place itself is not shown. */
  async refresh() {
    const typed = this.#question.value.trim();
    if (typed.length > SHORT) return this.#clear();
    if (typed === this.#asked || !this.#parts.place.checkVisibility()) return;
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    this.#asked = typed;
    try {
      const { data } = await call(`/v1/suggestions?q=${encodeURIComponent(typed)}`, { signal: asking.signal });
      this.#show(data.slice(0, SHOWN).map(({ text }) => text));
    } catch {
      // They are a convenience: whoever gets none can type all the same.
      if (this.#asking === asking) this.#clear();
    }
  }

  #clear() {
    this.#asking?.abort();
    this.#asked = null;
    this.#show([]);
  }

  #show(titles) {
    const chips = titles.map((title) => {
      const button = { type: "button", class: "suggestion", dir: "auto", title, on: { click: () => this.#choose(title) } };
      return el("li", {}, el("button", button, el("span", {}, title)));
    });
    this.#parts.title.hidden = chips.length === 0;
    this.#parts.list.replaceChildren(...chips);
  }
}
