// The list of kept conversations, one's own and those shared with one. On a wide screen it stands beside the
// chat; on a narrow one it covers everything and is modal.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";
import { addressOf, titleOf } from "./conversation-words.js";
import { day } from "./words.js";

const PAGE = 50;
const WIDE = window.matchMedia("(min-width: 60rem)");
const ROOM_BESIDE = window.matchMedia("(min-width: 88rem)");

export class ConversationList {
  #dialog;
  #toggle;
  #memory;
  #open;
  #parts;
  #rows = new Map();
  #current = null;
  #last = null;

  /**
   * `toggle` is the button that opens and closes `dialog`; `memory` a ChatMemory; `open(conversation)` is
   * called when somebody chooses one, `opened()` when the list comes to stand beside the chat.
   */
  constructor(dialog, toggle, memory, { open, opened }) {
    this.#dialog = dialog;
    this.#toggle = toggle;
    this.#memory = memory;
    this.#open = open;
    const part = (name) => dialog.querySelector(name);
    this.#parts = {
      problem: part(".problem"),
      none: part("#nothing-kept"),
      own: part("#own-conversations"),
      shared: part("#shared-conversations"),
      more: part("#more-conversations"),
      title: part("h2"),
    };
    part("[data-close]").addEventListener("click", () => this.#fold());
    dialog.addEventListener("close", () => this.#closed());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    // Escape folds the list away when it is meant; beside it, a source may be open and stay so.
    dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || dialog.matches(":modal")) return;
      event.stopPropagation();
      this.#fold();
    });
    this.#parts.more.addEventListener("click", () => this.#load());
    toggle.addEventListener("click", () => {
      if (dialog.open) this.#fold();
      else {
        this.#unfold();
        this.#parts.title.focus();
        opened();
      }
    });
    toggle.disabled = false;
    if (memory.lists && ROOM_BESIDE.matches) this.#restore();
  }

  /** Mark the conversation that is open in the chat; null when none is. */
  mark(id) {
    this.#current = id;
    for (const [name, row] of this.#rows) markRow(row, name === id);
  }

  /** Show what is known now about a conversation, in its place or on top when it is new. */
  update(conversation) {
    const row = this.#row(conversation);
    const before = this.#rows.get(conversation.id);
    if (before) before.replaceWith(row);
    else this.#listOf(conversation).prepend(row);
    this.#rows.set(conversation.id, row);
    this.#tidy();
  }

  /** Take a conversation out that is not there any more. */
  remove(id) {
    this.#rows.get(id)?.remove();
    this.#rows.delete(id);
    this.#tidy();
  }

  /** Close the list without asking it to stay closed next time. */
  giveWay() {
    if (this.#dialog.open) this.#dialog.close();
  }

  #fold() {
    this.#memory.lists = false;
    this.#dialog.close();
    this.#toggle.focus();
  }

  #unfold() {
    if (WIDE.matches) {
      this.#memory.lists = true;
      this.#dialog.show();
      document.body.classList.add("listing");
    } else this.#dialog.showModal();
    this.#toggle.setAttribute("aria-expanded", "true");
    this.#reload();
  }

  // A dialog takes the focus when it is shown; at the start it belongs to where it was.
  #restore() {
    const focused = document.activeElement;
    this.#unfold();
    focused?.focus();
  }

  #closed() {
    document.body.classList.remove("listing");
    this.#toggle.setAttribute("aria-expanded", "false");
  }

  async #reload() {
    this.#last = null;
    await this.#load();
  }

  async #load() {
    const from = this.#last;
    try {
      const query = `limit=${PAGE}${from ? `&after=${encodeURIComponent(from)}` : ""}`;
      const { data, has_more: more, last_id: last } = await call(`/v1/conversations?${query}`);
      if (from === null) this.#clear();
      // One in which nothing was asked has no title yet, and nothing to look at.
      for (const conversation of data.filter(({ metadata }) => metadata.title)) this.#append(conversation);
      this.#last = last ?? from;
      this.#parts.more.hidden = !more;
      showProblem(this.#parts.problem, null);
      this.#tidy();
    } catch (error) {
      showProblem(this.#parts.problem, error);
    }
  }

  #clear() {
    this.#rows.clear();
    for (const part of [this.#parts.own, this.#parts.shared]) part.querySelector("ul").replaceChildren();
  }

  #append(conversation) {
    const row = this.#row(conversation);
    this.#rows.set(conversation.id, row);
    this.#listOf(conversation).append(row);
  }

  #listOf({ x_owner: owner }) {
    return (owner.me ? this.#parts.own : this.#parts.shared).querySelector("ul");
  }

  #row(conversation) {
    const { x_owner: owner, x_shared_with: shared, x_updated_at: at } = conversation;
    const facts = [day(at), owner.me ? null : owner.label, shared.length ? "shared" : null];
    const link = el(
      "a",
      { href: addressOf(conversation.id), on: { click: (event) => this.#follow(event, conversation) } },
      el("span", { class: "conversation-name", dir: "auto" }, titleOf(conversation)),
      el("span", { class: "soft small" }, facts.filter(Boolean).join(" · ")),
    );
    const row = el("li", {}, link);
    markRow(row, conversation.id === this.#current);
    return row;
  }

  #follow(event, conversation) {
    // Whoever asks for a new tab gets the browser's own behaviour.
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (this.#dialog.matches(":modal")) this.#dialog.close();
    this.#open(conversation);
  }

  #tidy() {
    const { none, own, shared } = this.#parts;
    for (const part of [own, shared]) part.hidden = part.querySelector("li") === null;
    none.hidden = !(own.hidden && shared.hidden);
  }
}

function markRow(row, current) {
  const link = row.firstElementChild;
  if (current) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}
