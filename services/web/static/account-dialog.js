// What one account may do: its roles, clearance and compartments, and whether it is open.

import { call } from "./api.js";
import { closable, el, icon, showProblem } from "./elements.js";
import { day } from "./words.js";

const SERVICE_ROLES = new Set(["employee", "curator"]);

export class AccountDialog {
  #dialog;
  #form;
  #fields;
  #problem;
  #changed;
  #announce;
  #user = null;
  #origin = "";
  #compartments = [];

  /** `changed()` is called after each change, `announce(words)` for those who do not see it. */
  constructor(dialog, { changed, announce }) {
    this.#dialog = dialog;
    this.#form = dialog.querySelector("form");
    this.#fields = this.#form.querySelector("fieldset");
    this.#problem = dialog.querySelector(".problem");
    this.#changed = changed;
    this.#announce = announce;
    closable(dialog);
    // The button that opened it may have been rebuilt since.
    dialog.addEventListener("close", () => document.querySelector(`[data-account="${CSS.escape(this.#user.id)}"]`)?.focus());
    this.#form.addEventListener("submit", (event) => this.#save(event));
    this.#part("add-compartment").addEventListener("click", () => this.#addCompartment());
    this.#part("compartment").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.#addCompartment();
    });
    this.#part("account-toggle").addEventListener("click", () => this.#change({ disabled: !this.#user.disabled }));
  }

  /** Open for `user`; `own` is whether that is the person themself, `origin` says where the account comes from. */
  open(user, { own, origin }) {
    this.#origin = origin;
    this.#part("account-own").hidden = !own;
    this.#part("account-state").hidden = own;
    this.#fields.disabled = own;
    this.#form.querySelector("[type=submit]").hidden = own;
    this.#form.querySelector("[data-close]").textContent = own ? "Close" : "Cancel";
    showProblem(this.#problem, null);
    this.#show(user);
    this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
  }

  #part(id) {
    return this.#dialog.querySelector(`#${id}`);
  }

  #show(user) {
    this.#user = user;
    this.#compartments = [...user.compartments];
    this.#part("account-name").textContent = user.name;
    this.#part("account-facts").replaceChildren(...factsAbout(user, this.#origin));
    for (const box of this.#roleBoxes()) {
      box.checked = user.roles.includes(box.value);
      box.closest("label").hidden = user.kind === "service" && !SERVICE_ROLES.has(box.value);
    }
    this.#form.elements.clearance.value = user.clearance;
    this.#part("compartment").value = "";
    this.#showCompartments();
    this.#showState();
  }

  #roleBoxes() {
    return this.#form.querySelectorAll("[name=roles]");
  }

  #showState() {
    const { disabled } = this.#user;
    this.#part("account-state-words").textContent = disabled
      ? "This account is closed: nobody can sign in with it, and its keys do not work."
      : "Closing it ends its sign-ins, and its keys stop working at once. It can be opened again.";
    const button = this.#part("account-toggle");
    button.textContent = disabled ? "Open account again" : "Close account";
    button.className = disabled ? "" : "danger";
  }

  // --- compartments ---

  #showCompartments() {
    const chips = this.#compartments.map((name) => {
      const remove = { type: "button", "aria-label": `Remove ${name}`, disabled: this.#fields.disabled, on: { click: () => this.#removeCompartment(name) } };
      return el("li", { class: "chip" }, el("span", { dir: "auto" }, name), this.#fields.disabled ? null : el("button", remove, icon("cross")));
    });
    this.#part("compartments").replaceChildren(...(chips.length ? chips : [el("li", { class: "soft small" }, "None")]));
  }

  #addCompartment() {
    const field = this.#part("compartment");
    const name = field.value.trim();
    if (name && !this.#compartments.includes(name)) this.#compartments.push(name);
    field.value = "";
    this.#showCompartments();
    field.focus();
  }

  #removeCompartment(name) {
    this.#compartments = this.#compartments.filter((other) => other !== name);
    this.#showCompartments();
    this.#part("compartment").focus();
  }

  // --- changes ---

  async #save(event) {
    event.preventDefault();
    // What was typed but not added was meant as well.
    if (this.#part("compartment").value.trim()) this.#addCompartment();
    const roles = new FormData(this.#form).getAll("roles");
    showProblem(this.#problem, roles.length ? null : { message: "Choose at least one role." });
    if (!roles.length) return;
    const wanted = { roles, clearance: Number(this.#form.elements.clearance.value), compartments: this.#compartments };
    if (await this.#change(wanted)) this.#dialog.close();
  }

  async #change(wanted) {
    showProblem(this.#problem, null);
    try {
      const user = await call(`/v1/users/${encodeURIComponent(this.#user.id)}`, { method: "PATCH", json: wanted });
      await this.#changed();
      this.#show(user);
    } catch (error) {
      showProblem(this.#problem, error);
      this.#problem.scrollIntoView({ block: "nearest" });
      return false;
    }
    this.#announce(stateWords(this.#user, wanted));
    return true;
  }
}

function factsAbout(user, origin) {
  const facts = [["From", origin], ["E-mail", user.email], ["Since", day(user.created_at)]];
  return facts.filter(([, fact]) => fact).flatMap(([name, fact]) => [el("dt", {}, name), el("dd", { dir: "auto" }, fact)]);
}

function stateWords({ name }, { disabled }) {
  if (disabled === undefined) return `What ${name} may do is saved.`;
  return disabled ? `The account of ${name} is closed.` : `The account of ${name} is open again.`;
}
