// API keys, as one's own account page and the page about programs show them.

import { call } from "./api.js";
import { closable, copyField, el, showProblem } from "./elements.js";
import { day } from "./words.js";

const SCOPES = {
  ask: "asks",
  read: "finds and reads",
  write: "uploads and shares",
  audit: "reads the record",
  admin: "manages people",
  scim: "pushes people and groups (SCIM)",
};

/** What the fields of a form say about a new key, as the server wants it. */
export function keyFrom(form, scopes) {
  const days = form.elements.days.value;
  return { name: form.elements.name.value.trim(), scopes, ...(days ? { expires_in_days: Number(days) } : {}) };
}

/** One key in a list; `revoke(key)` is called by its button. */
export function keyRow(key, revoke) {
  const facts = [abilities(key), `Created ${day(key.created_at)}`, expiry(key)];
  const button = el("button", { type: "button", class: "quiet small", "aria-label": `Revoke ${key.name}`, on: { click: () => revoke(key) } }, "Revoke");
  return el(
    "li",
    { class: "row" },
    el("h3", { class: "row-title", dir: "auto" }, key.name),
    el("div", { class: "row-actions" }, button),
    el("p", { class: "row-facts" }, ...facts.map((fact) => el("span", {}, fact))),
  );
}

function abilities({ scopes }) {
  const words = Object.keys(SCOPES).filter((scope) => scopes.includes(scope)).map((scope) => SCOPES[scope]);
  const list = words.join(", ");
  return list.charAt(0).toUpperCase() + list.slice(1);
}

function expiry({ expires_at: expires }) {
  if (!expires) return "Does not expire";
  return expires > Date.now() ? `Expires ${day(expires)}` : el("strong", {}, `Expired ${day(expires)}`);
}

/** What stands in a notice about a key that was just made. */
export function freshKey({ name, key }) {
  return [el("p", {}, el("strong", { dir: "auto" }, name), ": copy the key now, it is not shown again."), copyField("API key", key)];
}

/** The dialog that asks before a key is revoked. */
export class Revocation {
  #dialog;
  #problem;
  #condemned = null;

  /** `revoked()` is called after a key was revoked and the dialog is closed. */
  constructor(dialog, revoked) {
    this.#dialog = dialog;
    this.#problem = dialog.querySelector(".problem");
    closable(dialog);
    dialog.querySelector("#revoke-confirm").addEventListener("click", async () => {
      try {
        await call(this.#condemned, { method: "DELETE" });
      } catch (error) {
        showProblem(this.#problem, error);
        return;
      }
      dialog.close();
      await revoked();
    });
  }

  /** Ask about `key`, which is deleted at `address`. */
  open(key, address) {
    this.#condemned = address;
    this.#dialog.querySelector("#revoke-name").textContent = key.name;
    showProblem(this.#problem, null);
    this.#dialog.showModal();
  }
}
