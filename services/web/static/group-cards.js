// Groups: those made here are filled here; a directory decides about its own.

import { call } from "./api.js";
import { labelOf } from "./directory-words.js";
import { closable, el, icon, showProblem } from "./elements.js";

const LOCAL = "local";

export class GroupCards {
  #place;
  #problem;
  #announce;
  #known = { people: [], me: null, directories: [] };
  #removal = document.getElementById("remove-group");
  #condemned = null;

  constructor(place, problem, announce) {
    this.#place = place;
    this.#problem = problem;
    this.#announce = announce;
    closable(this.#removal);
    this.#removal.querySelector("#remove-group-confirm").addEventListener("click", () => this.#remove());
  }

  /** Show `groups`; `known` holds the people there are, who is looking, and the directories. */
  show(groups, known = this.#known) {
    this.#known = known;
    const cards = groups.map((group) => this.#card(group));
    this.#place.replaceChildren(...(cards.length ? cards : [el("p", { class: "empty soft" }, "No groups yet. A group saves sharing each document with each person.")]));
  }

  /** Make the group that the submitted form names. */
  async create(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const name = form.elements.name.value.trim();
    if (!(await this.#done(() => call("/v1/groups", { method: "POST", json: { name } })))) return;
    form.reset();
    this.#announce(`The group ${name} is made.`);
  }

  #card(group) {
    const here = group.directory === LOCAL;
    const members = this.#known.people.filter(({ id }) => group.members.includes(id));
    const name = el("h3", { dir: "auto" }, group.name);
    return el(
      "section",
      { class: "card", "aria-label": group.name, data: { group: group.id } },
      el("div", { class: "card-head" }, name, here ? this.#removeButton(group) : this.#badge(group)),
      el("ul", { class: "chips", "aria-label": `Members of ${group.name}` }, ...this.#chips(group, members, here)),
      here ? this.#adder(group) : el("p", { class: "soft small" }, "Its directory decides who is in it."),
    );
  }

  #badge(group) {
    return el("p", { class: "chip" }, el("span", { dir: "auto" }, `From ${labelOf(group.directory, this.#known.directories)}`));
  }

  #removeButton(group) {
    const open = () => {
      this.#condemned = group;
      this.#removal.querySelector("#remove-group-name").textContent = group.name;
      showProblem(this.#removal.querySelector(".problem"), null);
      this.#removal.showModal();
    };
    return el("button", { type: "button", class: "quiet small", "aria-label": `Delete ${group.name}`, on: { click: open } }, "Delete");
  }

  async #remove() {
    const { id, name } = this.#condemned;
    try {
      await call(`/v1/groups/${encodeURIComponent(id)}`, { method: "DELETE" });
    } catch (error) {
      showProblem(this.#removal.querySelector(".problem"), error);
      return;
    }
    this.#removal.close();
    this.#announce(`The group ${name} is deleted.`);
    await this.#done(() => null);
    document.getElementById("groups-title").focus();
  }

  #chips(group, members, here) {
    if (!members.length) return [el("li", { class: "soft" }, "No members yet.")];
    return members.map((user) => {
      // Nobody changes what they may read themselves, not even by leaving a group.
      const isMe = user.id === this.#known.me.id;
      const remove = { type: "button", "aria-label": `Remove ${user.name} from ${group.name}`, on: { click: () => this.#set(group, user.id, "DELETE") } };
      return el("li", { class: "chip" }, el("span", { dir: "auto" }, isMe ? `${user.name} (you)` : user.name), here && !isMe ? el("button", remove, icon("cross")) : null);
    });
  }

  #adder(group) {
    const others = this.#known.people.filter(({ id, disabled }) => !disabled && id !== this.#known.me.id && !group.members.includes(id));
    if (!others.length) return null;
    const choice = el("select", { "aria-label": `Person to add to ${group.name}` }, ...others.map((user) => el("option", { value: user.id }, user.kind === "service" ? `${user.name} (program)` : user.name)));
    const add = (event) => {
      event.preventDefault();
      this.#set(group, choice.value, "PUT");
    };
    return el("form", { class: "copy-row", on: { submit: add } }, choice, el("button", { type: "submit" }, "Add"));
  }

  async #set(group, userId, method) {
    const address = `/v1/groups/${encodeURIComponent(group.id)}/members/${encodeURIComponent(userId)}`;
    if (!(await this.#done(() => call(address, { method })))) return;
    // The control that was used has been rebuilt; keep the focus in the same group.
    this.#place.querySelector(`[data-group="${CSS.escape(group.id)}"]`)?.querySelector("select, button")?.focus();
  }

  async #done(change) {
    showProblem(this.#problem, null);
    try {
      await change();
      this.show((await call("/v1/groups")).data);
    } catch (error) {
      showProblem(this.#problem, error);
      return false;
    }
    return true;
  }
}
