// The questions and answers of a kept conversation, drawn as they were when they were asked; the newest first
// to be fetched, the earlier ones when somebody wants them.

import { call } from "./api.js";
import { el } from "./elements.js";
import { Turn } from "./turn.js";

const PAGE = 40;

export class KeptTurns {
  #place;
  #actions;
  #conversation;
  #items = [];
  #more = false;
  #drawn = [];

  /** Draw `conversation` at the top of `place`; `actions` are those of a Turn. */
  constructor(place, conversation, actions) {
    this.#place = place;
    this.#conversation = conversation;
    // Receipts are for whoever asked.
    this.#actions = conversation.x_owner.me ? actions : { ...actions, openReceipt: undefined };
  }

  /** Fetch and draw the newest turns; throws what the server refuses with. */
  async show(signal) {
    await this.#fetch(signal);
    // Whoever has gone elsewhere meanwhile must not find these turns there.
    signal.throwIfAborted();
    this.#draw();
  }

  async #fetch(signal) {
    const before = this.#items.length ? `&after=${encodeURIComponent(this.#items[0].id)}` : "";
    const address = `/v1/conversations/${encodeURIComponent(this.#conversation.id)}/items?order=desc&limit=${PAGE}${before}`;
    const { data, has_more: more } = await call(address, { signal });
    this.#items.unshift(...data.toReversed());
    this.#more = more;
  }

  #draw() {
    for (const element of this.#drawn) element.remove();
    const turns = exchangesOf(this.#items).map(([asked, said]) => this.#turn(asked, said).element);
    this.#drawn = this.#more ? [this.#earlierButton(), ...turns] : turns;
    this.#place.prepend(...this.#drawn);
    return turns;
  }

  #turn(asked, said) {
    return Turn.kept(textOf(asked), said && this.#said(said), this.#actions);
  }

  #said(item) {
    if (item.type === "withheld") return { withheld: this.#conversation.x_owner.me ? GONE : CLOSED };
    const { id, status, model } = item.x_answer;
    return { id, status, model, text: textOf(item), citations: item.x_citations, at: item.x_created_at };
  }

  #earlierButton() {
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const button = el("button", { type: "button", class: "small", on: { click: () => this.#showEarlier(problem) } }, "Show earlier questions");
    return el("div", { class: "earlier" }, button, problem);
  }

  async #showEarlier(problem) {
    const first = this.#drawn[1];
    const distance = first?.getBoundingClientRect().top ?? 0;
    try {
      await this.#fetch();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      return;
    }
    const before = this.#drawn.length - 1;
    const turns = this.#draw();
    // What was being read stays where it was; the focus goes to the first of what is new.
    const same = turns.at(-before);
    if (same) window.scrollBy({ top: same.getBoundingClientRect().top - distance, behavior: "instant" });
    const heading = turns[0]?.querySelector("h2");
    heading?.setAttribute("tabindex", "-1");
    heading?.focus({ preventScroll: true });
  }
}

// Pair each question with its answer. An answer whose question is on an earlier page waits for that page.
function exchangesOf(items) {
  const exchanges = [];
  for (const item of items) {
    if (item.role === "user") exchanges.push([item, null]);
    else if (exchanges.length && exchanges.at(-1)[1] === null) exchanges.at(-1)[1] = item;
  }
  return exchanges;
}

const textOf = (item) => item.content.map(({ text }) => text).join("\n");

// The same words for each such answer, whatever is behind it.
const GONE = "This answer rests on something you cannot open any more.";
const CLOSED = "This answer rests on something you cannot open.";
