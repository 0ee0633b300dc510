// The list of entries: page after page, whatever is added meanwhile.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";
import { fillDetail } from "./record-entry.js";
import { outcomeInWords } from "./record-words.js";
import { count, eventName, plural, whenExactly } from "./words.js";

const PAGE = 50;
// A search that finds little goes on by itself for a while, then asks.
const PATIENCE = 20;

export class EntryList {
  #body = document.querySelector("#events tbody");
  #more = document.getElementById("more");
  #state = document.getElementById("events-state");
  #problem = document.getElementById("events-problem");
  #empty = document.getElementById("empty");
  #filters;
  #acts;
  #older = null;
  #newer = null;
  #turn = 0;

  /** `acts` are what entries offer to do; see `fillDetail`. */
  constructor(acts) {
    this.#acts = acts;
    this.#more.addEventListener("click", () => this.#loadOlder());
    document.getElementById("newer").addEventListener("click", () => this.#loadNewer());
  }

  /** Begin anew with what `filters` look for now. */
  async begin(filters) {
    this.#filters = filters;
    this.#turn += 1;
    this.#older = this.#newer = null;
    this.#body.replaceChildren();
    this.#empty.hidden = this.#more.hidden = true;
    await this.#loadOlder();
  }

  async #loadOlder() {
    const before = this.#body.querySelectorAll("tr:not(.event-detail)").length;
    await this.#load("Looking for events…", async (turn) => {
      let found = 0;
      for (let left = PATIENCE; left > 0; left -= 1) {
        const page = await this.#page(this.#older);
        if (turn !== this.#turn) return;
        this.#newer ??= page.newer;
        this.#older = page.older;
        found += page.data.length;
        this.#body.append(...page.data.flatMap((entry) => this.#rows(entry)));
        if (found >= PAGE / 2 || page.older === null) break;
        this.#state.textContent = `Looking further back… ${plural(before + found, "event")} so far.`;
      }
      this.#more.hidden = this.#older === null;
      this.#more.textContent = found ? "Show older events" : "Look further back";
      this.#state.textContent = "";
      if (before) this.#state.textContent = found ? `${plural(found, "older event")} added below.` : "Nothing further back yet.";
    });
  }

  async #loadNewer() {
    if (this.#newer === null) return;
    await this.#load("Looking for new events…", async (turn) => {
      const page = await this.#page(this.#newer);
      if (turn !== this.#turn) return;
      this.#newer = page.newer;
      this.#body.prepend(...page.data.flatMap((entry) => this.#rows(entry)));
      const some = page.has_more ? "There are more; look again." : "";
      this.#state.textContent = page.data.length ? `${plural(page.data.length, "new event")} added above. ${some}` : "Nothing new.";
    });
  }

  async #load(words, work) {
    showProblem(this.#problem, null);
    this.#body.setAttribute("aria-busy", "true");
    this.#state.textContent = words;
    this.#more.disabled = true;
    const turn = this.#turn;
    try {
      await work(turn);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#state.textContent = "";
      showProblem(this.#problem, error);
    }
    if (turn !== this.#turn) return;
    this.#more.disabled = false;
    this.#body.setAttribute("aria-busy", "false");
    this.#empty.hidden = this.#body.childElementCount > 0;
  }

  #page(cursor) {
    const query = this.#filters.query();
    query.set("limit", PAGE);
    query.set("newest", true);
    if (cursor !== null) query.set("cursor", cursor);
    return call(`/v1/audit/events?${query}`);
  }

  #rows(entry) {
    const detail = el("tr", { class: "event-detail", id: `detail-${entry.id}`, hidden: true }, el("td", { colspan: 6 }));
    return [this.#summary(entry, detail), detail];
  }

  #summary(entry, detail) {
    const name = entry.type === "unreadable" ? "Entry in no known format" : eventName(entry.type);
    // An entry that cannot be read has an index and nothing else.
    const time = entry.time ? whenExactly(entry.time) : "—";
    const label = `Details of ${name}, ${time}`;
    const open = el("button", { type: "button", class: "quiet small", "aria-expanded": "false", "aria-controls": detail.id, "aria-label": label }, "Details");
    open.addEventListener("click", () => {
      detail.hidden = !detail.hidden;
      open.setAttribute("aria-expanded", String(!detail.hidden));
      if (!detail.hidden) fillDetail(detail.firstElementChild, entry, this.#acts);
    });
    return el(
      "tr",
      {},
      el("td", { class: "number" }, count(entry.index)),
      el("td", { class: "number" }, time),
      el("td", { class: "event-name" }, name, el("code", {}, entry.type)),
      el("td", { dir: "auto" }, entry.actor?.label ?? "—"),
      el("td", {}, outcomeInWords(entry.outcome)),
      el("td", {}, open),
    );
  }
}
