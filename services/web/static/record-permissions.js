// Break glass: who asked to read contents, why, and who may approve it.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";
import { askPermission } from "./record-contents.js";
import { when } from "./words.js";

const STATES = { waiting: "Waiting for a second auditor", approved: "Approved", expired: "Expired" };
const SHOWN = 10;

export class Permissions {
  #section = document.getElementById("permissions");
  #problem = this.#section.querySelector(".problem");
  #form = document.getElementById("permission-form");

  constructor() {
    this.#form.addEventListener("submit", (event) => this.#ask(event));
  }

  /** Fetch and show the requests, if contents take a permission on this server. */
  async show() {
    try {
      const found = await call("/v1/audit/content-permissions");
      this.#section.hidden = document.getElementById("to-permissions").hidden = !found.needed;
      const until = found.until ? `You may read contents until ${when(found.until)}.` : "You may not read contents now.";
      document.getElementById("permission-state").textContent = until;
      const rows = found.data.slice(0, SHOWN).map((permission) => this.#row(permission, found.minutes));
      document.getElementById("permission-list").replaceChildren(...rows);
    } catch (error) {
      this.#section.hidden = false;
      showProblem(this.#problem, error);
    }
  }

  async #ask(event) {
    event.preventDefault();
    showProblem(this.#problem, null);
    try {
      await askPermission(this.#form.elements.reason.value.trim());
      this.#form.reset();
      await this.show();
    } catch (error) {
      showProblem(this.#problem, error);
    }
  }

  async #approve(permission) {
    showProblem(this.#problem, null);
    try {
      await call(`/v1/audit/content-permissions/${encodeURIComponent(permission.id)}/approve`, { method: "POST" });
    } catch (error) {
      showProblem(this.#problem, error);
    }
    await this.show();
  }

  #row(permission, minutes) {
    const { requester, approver, state, reason, created_at: asked, expires_at: ends } = permission;
    const approve = { type: "button", class: "primary", "aria-label": `Approve the request of ${requester.label}`, on: { click: () => this.#approve(permission) } };
    return el(
      "li",
      { class: "row" },
      el("p", { class: "row-title", dir: "auto" }, reason ?? "The reason was erased."),
      el(
        "p",
        { class: "row-facts" },
        el("span", { dir: "auto" }, requester.me ? "You" : requester.label),
        el("span", {}, when(asked)),
        el("span", {}, STATES[state]),
        approver ? el("span", { dir: "auto" }, `by ${approver.label}`) : null,
        state === "approved" ? el("span", {}, `until ${when(ends)}`) : null,
      ),
      permission.may_approve ? el("div", { class: "row-actions" }, el("button", approve, `Approve for ${minutes} minutes`)) : null,
    );
  }
}
