// Who may look at one conversation: the people and groups it is shared with, a search for more, and its link.

import { call } from "./api.js";
import { addressOf, titleOf } from "./conversation-words.js";
import { closable, copyField, el, showProblem } from "./elements.js";
import { PrincipalPicker } from "./principal-picker.js";

export class ConversationSharing {
  #dialog;
  #parts;
  #lookers;
  #conversation = null;
  #changed;

  /** `changed(conversation)` is called after each change with what the server says now. */
  constructor(dialog, changed) {
    this.#dialog = dialog;
    this.#changed = changed;
    const part = (name) => dialog.querySelector(name);
    this.#parts = { name: part("#share-name"), status: part("#share-status"), problem: part(".problem"), link: part("#share-link") };
    this.#lookers = new PrincipalPicker(part("#share-lookers"), LOOKERS, {
      add: (principal) => this.#set(principal, "PUT"),
      remove: (principal) => this.#set(principal, "DELETE"),
      failed: (error) => showProblem(this.#parts.problem, error),
    });
    closable(dialog);
  }

  /** Open for a conversation of the person's own. */
  open(conversation) {
    this.#parts.name.textContent = titleOf(conversation);
    this.#parts.status.textContent = "";
    showProblem(this.#parts.problem, null);
    this.#lookers.reset();
    this.#show(conversation);
    this.#dialog.showModal();
    this.#lookers.focus();
    this.#lookers.search();
  }

  #show(conversation) {
    this.#conversation = conversation;
    this.#lookers.show(conversation.x_shared_with);
    this.#parts.link.hidden = conversation.x_shared_with.length === 0;
    this.#parts.link.replaceChildren(
      el("p", { class: "soft small" }, "The link, for those it is shared with:"),
      copyField("Link to this conversation", new URL(addressOf(conversation.id), location.origin).href),
    );
  }

  async #set(principal, method) {
    const { status, problem } = this.#parts;
    const address = `/v1/conversations/${encodeURIComponent(this.#conversation.id)}`;
    showProblem(problem, null);
    try {
      await call(`${address}/shares/${encodeURIComponent(principal.id)}`, { method });
      this.#show(await call(address));
    } catch (error) {
      showProblem(problem, error);
      return;
    }
    this.#changed(this.#conversation);
    status.textContent = method === "PUT" ? `${principal.label} can look at it now.` : `${principal.label} can no longer look at it.`;
    await this.#lookers.search();
    // The button that was pressed is gone; the search field is the next sensible place.
    this.#lookers.focus();
  }
}

const LOOKERS = {
  list: "People and groups who may look at it",
  search: "Add a person or group",
  none: "Only you, so far.",
  add: (label) => `Add ${label}`,
  remove: (label) => `Stop sharing with ${label}`,
};
