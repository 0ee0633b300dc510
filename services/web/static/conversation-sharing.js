// Who may look at one conversation: the people and groups it is shared with, a search for more, and its link.

import { call } from "./api.js";
import { addressOf, titleOf } from "./conversation-words.js";
import { closable, copyField, el, icon, showProblem } from "./elements.js";

const PAUSE_MS = 150;
const MOST_FOUND = 20;

export class ConversationSharing {
  #dialog;
  #parts;
  #conversation = null;
  #changed;
  #timer;
  #searches = 0;

  /** `changed(conversation)` is called after each change with what the server says now. */
  constructor(dialog, changed) {
    this.#dialog = dialog;
    this.#changed = changed;
    const part = (name) => dialog.querySelector(name);
    this.#parts = {
      name: part("#share-name"),
      list: part("#shared-with"),
      search: part("#share-search"),
      found: part("#share-found"),
      status: part("#share-status"),
      problem: part(".problem"),
      link: part("#share-link"),
    };
    closable(dialog);
    this.#parts.search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), PAUSE_MS);
    });
  }

  /** Open for a conversation of the person's own. */
  open(conversation) {
    this.#conversation = conversation;
    this.#parts.name.textContent = titleOf(conversation);
    this.#parts.search.value = "";
    this.#parts.found.replaceChildren();
    this.#parts.status.textContent = "";
    showProblem(this.#parts.problem, null);
    this.#showShared();
    this.#dialog.showModal();
    this.#parts.search.focus();
    this.#search();
  }

  #showShared() {
    const chips = this.#conversation.x_shared_with.map((principal) => {
      const stop = { "aria-label": `Stop sharing with ${principal.label}`, on: { click: () => this.#set(principal, "DELETE") } };
      return el("li", { class: "chip" }, el("span", { dir: "auto" }, principal.label), el("button", { type: "button", ...stop }, icon("cross")));
    });
    this.#parts.list.replaceChildren(...(chips.length ? chips : [el("li", { class: "soft" }, "Only you, so far.")]));
    this.#parts.link.hidden = chips.length === 0;
    this.#parts.link.replaceChildren(
      el("p", { class: "soft small" }, "The link, for those it is shared with:"),
      copyField("Link to this conversation", new URL(addressOf(this.#conversation.id), location.origin).href),
    );
  }

  async #search() {
    const turn = ++this.#searches;
    try {
      const { data } = await call(`/v1/principals?q=${encodeURIComponent(this.#parts.search.value.trim())}`);
      // An earlier, slower search must not overwrite a later one.
      if (turn === this.#searches) this.#showFound(data);
    } catch (error) {
      showProblem(this.#parts.problem, error);
    }
  }

  #showFound(principals) {
    const taken = new Set(this.#conversation.x_shared_with.map(({ id }) => id));
    const free = principals.filter(({ id }) => !taken.has(id)).slice(0, MOST_FOUND);
    const choices = free.map((principal) => {
      const add = { type: "button", dir: "auto", on: { click: () => this.#set(principal, "PUT") } };
      return el("li", {}, el("button", add, `Add ${principal.label}`));
    });
    this.#parts.found.replaceChildren(...(choices.length ? choices : [el("li", { class: "soft small" }, "Nobody else by that name.")]));
  }

  async #set(principal, method) {
    showProblem(this.#parts.problem, null);
    const address = `/v1/conversations/${encodeURIComponent(this.#conversation.id)}`;
    try {
      await call(`${address}/shares/${encodeURIComponent(principal.id)}`, { method });
      this.#conversation = await call(address);
    } catch (error) {
      showProblem(this.#parts.problem, error);
      return;
    }
    this.#changed(this.#conversation);
    this.#parts.status.textContent = method === "PUT" ? `${principal.label} can look at it now.` : `${principal.label} can no longer look at it.`;
    this.#showShared();
    await this.#search();
    // The button that was pressed is gone; the search field is the next sensible place.
    this.#parts.search.focus();
  }
}
