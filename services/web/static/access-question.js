// Why somebody may or may not read a document: the rules that decide, in words.

import { call } from "./api.js";
import { el, icon, showProblem } from "./elements.js";

export class AccessQuestion {
  #form;
  #place;
  #problem = document.getElementById("why-problem");

  constructor(form, place) {
    this.#form = form;
    this.#place = place;
    form.addEventListener("submit", (event) => this.#explain(event));
  }

  /** Offer `accounts` to ask about; what was chosen stays chosen. */
  about(accounts) {
    const choice = this.#form.elements.user;
    const before = choice.value;
    choice.replaceChildren(...accounts.map((account) => el("option", { value: account.id }, nameOf(account))));
    if (accounts.some(({ id }) => id === before)) choice.value = before;
  }

  async #explain(event) {
    event.preventDefault();
    showProblem(this.#problem, null);
    const query = new URLSearchParams({ user: this.#form.elements.user.value, document: this.#form.elements.document.value.trim() });
    try {
      this.#show(await call(`/v1/access/explain?${query}`));
    } catch (error) {
      this.#place.hidden = true;
      showProblem(this.#problem, error);
    }
  }

  #show({ decision, user, document: file, collection, rules, index_agrees: agrees }) {
    const allowed = decision === "allow";
    this.#place.hidden = false;
    const findings = rules.filter(({ rule }) => collection !== null || rule !== "collection").map(ruleItem);
    const lagging = "The search index does not know the latest change yet. Every answer is checked against these rules all the same.";
    this.#place.replaceChildren(
      el("h3", { class: allowed ? "sound" : "unsound", dir: "auto" }, allowed ? `${user.label} may read it.` : `${user.label} may not read it.`),
      el("p", { class: "soft small", dir: "auto" }, file.owner.id === user.principal ? "It belongs to them." : `It belongs to ${file.owner.label}.`),
      el("ul", { class: "findings" }, ...findings),
      ...(agrees ? [] : [el("p", { class: "soft small" }, lagging)]),
    );
  }
}

function ruleItem({ granted, text, because }) {
  return el(
    "li",
    { class: granted ? "granted" : "refused" },
    icon(granted ? "check" : "cross"),
    el("span", {}, el("span", { class: "visually-hidden" }, granted ? "In favour: " : "Against: "), text, because.length ? el("span", { class: "soft", dir: "auto" }, ` ${because.map(({ label }) => label).join(", ")}`) : null),
  );
}

function nameOf({ name, email, kind, disabled }) {
  const more = [email, kind === "service" ? "program" : null, disabled ? "closed" : null].filter(Boolean);
  return more.length ? `${name} (${more.join(", ")})` : name;
}
