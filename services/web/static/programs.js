// Accounts of programs and their keys.

import { call } from "./api.js";
import { closable, el, showProblem } from "./elements.js";
import { freshKey, keyFrom, keyRow, Revocation } from "./keys.js";

export class Programs {
  #place;
  #problem = document.getElementById("programs-problem");
  #dialog = document.getElementById("program-key");
  #form = document.getElementById("program-key-form");
  #openAccount;
  #announce;
  #revocation;
  #for = null;
  /** The key that was just made, and whose it is; its secret is shown until something else happens. */
  #fresh = null;

  /** `openAccount(program)` shows what a program may do, `announce(words)` is for those who do not see it. */
  constructor(place, { openAccount, announce }) {
    this.#place = place;
    this.#openAccount = openAccount;
    this.#announce = announce;
    this.#revocation = new Revocation(document.getElementById("revoke"), async () => {
      this.#fresh = null;
      await this.#reload();
      document.getElementById("programs-title").focus();
    });
    closable(this.#dialog);
    this.#form.addEventListener("submit", (event) => this.#createKey(event));
    this.#form.addEventListener("change", () => this.#showScopes());
  }

  /** Make the accounts that `form` names, and call `created()` after each. */
  listen({ form, created }) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      showProblem(this.#problem, null);
      const name = form.elements.name.value.trim();
      try {
        await call("/v1/service-accounts", { method: "POST", json: { name } });
        form.reset();
        await created();
        this.#announce(`The account of ${name} is made.`);
      } catch (error) {
        showProblem(this.#problem, error);
      }
    });
  }

  /** Show `programs`. */
  show(programs) {
    const cards = programs.map((program) => this.#card(program));
    this.#place.replaceChildren(...(cards.length ? cards : [el("p", { class: "empty soft" }, "No programs yet.")]));
  }

  async #reload() {
    try {
      this.show((await call("/v1/service-accounts")).data);
    } catch (error) {
      showProblem(this.#problem, error);
    }
  }

  #card(program) {
    const { id, name, keys, disabled, roles } = program;
    const change = { type: "button", class: "quiet small", "aria-label": `Change ${name}`, "aria-haspopup": "dialog", data: { account: id }, on: { click: () => this.#openAccount(program) } };
    const more = { type: "button", class: "quiet small", "aria-label": `New key for ${name}`, on: { click: () => this.#openKey(program) } };
    return el(
      "section",
      { class: "card", "aria-label": name },
      el(
        "div",
        { class: "card-head" },
        el("h3", { dir: "auto" }, name),
        el("div", { class: "card-actions" }, el("button", change, "Change"), disabled ? null : el("button", more, "New key")),
      ),
      el("p", { class: "soft small" }, disabled ? "Closed: its keys do not work." : roles.join(", ")),
      this.#fresh?.owner === id ? el("div", { class: "notice once", role: "status" }, ...freshKey(this.#fresh)) : null,
      keys.length ? el("ul", { class: "rows", "aria-label": `Keys of ${name}` }, ...keys.map((key) => this.#keyRow(program, key))) : el("p", { class: "soft" }, "No keys yet."),
    );
  }

  #keyRow(program, key) {
    const address = `${keysOf(program)}/${encodeURIComponent(key.id)}`;
    return keyRow(key, () => this.#revocation.open(key, address));
  }

  // --- a new key ---

  #openKey(program) {
    this.#for = program;
    this.#form.reset();
    this.#dialog.querySelector("h2").textContent = `New key for ${program.name}`;
    showProblem(this.#form.querySelector(".problem"), null);
    this.#showScopes();
    this.#dialog.showModal();
    this.#form.elements.name.focus();
  }

  // A key for SCIM is for nothing else.
  #showScopes() {
    document.getElementById("program-scopes").hidden = this.#form.elements.purpose.value === "scim";
  }

  async #createKey(event) {
    event.preventDefault();
    const place = this.#form.querySelector(".problem");
    const scopes = this.#form.elements.purpose.value === "scim" ? ["scim"] : new FormData(this.#form).getAll("scopes");
    showProblem(place, scopes.length ? null : { message: "Choose at least one thing that it can do." });
    if (!scopes.length) return;
    try {
      const made = await call(keysOf(this.#for), { method: "POST", json: keyFrom(this.#form, scopes) });
      this.#fresh = { ...made, owner: this.#for.id };
    } catch (error) {
      showProblem(place, error);
      return;
    }
    this.#dialog.close();
    await this.#reload();
    this.#place.querySelector(".once input")?.focus();
  }
}

function keysOf({ id }) {
  return `/v1/service-accounts/${encodeURIComponent(id)}/keys`;
}
