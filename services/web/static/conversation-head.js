// The line above a kept conversation: what it is called, who may look at it, and what can be done with it.

import { call } from "./api.js";
import { ConversationSharing } from "./conversation-sharing.js";
import { sharingWords, titleOf } from "./conversation-words.js";
import { closable, showProblem } from "./elements.js";

export class ConversationHead {
  #parts;
  #deletion = document.getElementById("delete");
  #conversation = null;

  /** `changed(conversation)` is called with what the server says after a change, `deleted(conversation)` after its end. */
  constructor({ changed, deleted }) {
    const part = (name) => document.getElementById(name);
    this.#parts = {
      head: part("conversation"),
      title: part("conversation-title"),
      facts: part("conversation-facts"),
      share: part("conversation-share"),
      export: part("conversation-export"),
      delete: part("conversation-delete"),
    };
    const sharing = new ConversationSharing(part("share"), changed);
    this.#parts.share.addEventListener("click", () => sharing.open(this.#conversation));
    this.#parts.delete.addEventListener("click", () => this.#askWhetherToDelete());
    part("delete-confirm").addEventListener("click", () => this.#delete(deleted));
    closable(this.#deletion);
  }

  /** Show `conversation`, or nothing for null. */
  show(conversation) {
    this.#conversation = conversation;
    this.#parts.head.hidden = conversation === null;
    if (conversation === null) return;
    const mine = conversation.x_owner.me;
    this.#parts.title.textContent = titleOf(conversation);
    this.#parts.facts.textContent = sharingWords(conversation);
    this.#parts.export.href = `/v1/conversations/${encodeURIComponent(conversation.id)}/export`;
    this.#parts.share.hidden = !mine;
    this.#parts.delete.hidden = !mine;
  }

  /** Let a screen reader begin at the title. */
  focus() {
    this.#parts.title.focus({ preventScroll: true });
  }

  #askWhetherToDelete() {
    document.getElementById("delete-name").textContent = titleOf(this.#conversation);
    showProblem(this.#deletion.querySelector(".problem"), null);
    this.#deletion.showModal();
  }

  async #delete(deleted) {
    const conversation = this.#conversation;
    try {
      await call(`/v1/conversations/${encodeURIComponent(conversation.id)}`, { method: "DELETE" });
    } catch (error) {
      // Whoever deleted it elsewhere wanted the same.
      if (error.status !== 404) return showProblem(this.#deletion.querySelector(".problem"), error);
    }
    this.#deletion.close();
    deleted(conversation);
  }
}
