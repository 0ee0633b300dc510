// Invitations, accounts and groups.

import { call } from "../api.js";
import { copyField, el, icon, showProblem } from "../elements.js";
import { day, when } from "../words.js";

const problem = document.querySelector("main > .problem");
const invite = document.getElementById("invite");
const invitation = document.getElementById("invitation");
const newGroup = document.getElementById("new-group");
const groups = document.getElementById("groups");
let users = [];

// --- invitations ----------------------------------------------------------------------------------

invite.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = invite.querySelector(".problem");
  const roles = new FormData(invite).getAll("roles");
  showProblem(place, roles.length ? null : { message: "Choose at least one role." });
  if (!roles.length) return;
  try {
    showInvitation(await call("/v1/invitations", { method: "POST", json: { roles } }));
  } catch (error) {
    showProblem(place, error);
  }
});

function showInvitation({ url, expires_at: expires, roles }) {
  invitation.hidden = false;
  invitation.replaceChildren(
    el("p", {}, el("strong", {}, "Send this link to one person."), ` It works once, until ${when(expires)}, and gives: ${roles.join(", ")}.`),
    copyField("Invitation link", url),
    el("p", { class: "soft small" }, "It is shown only now."),
  );
}

// --- accounts and groups --------------------------------------------------------------------------

async function load() {
  try {
    const [people, all] = await Promise.all([call("/v1/users"), call("/v1/groups")]);
    users = people.data;
    document.getElementById("users").replaceChildren(...users.map(userRow));
    showGroups(all.data);
  } catch (error) {
    showProblem(problem, error);
  }
}

function userRow(user) {
  return el(
    "tr",
    {},
    el("th", { scope: "row", dir: "auto" }, user.name, user.disabled ? " (disabled)" : ""),
    el("td", {}, user.email ?? "—"),
    el("td", {}, user.roles.join(", ")),
    el("td", { class: "number" }, day(user.created_at)),
  );
}

function showGroups(all) {
  const cards = all.map(groupCard);
  groups.replaceChildren(...(cards.length ? cards : [el("p", { class: "empty soft" }, "No groups yet. A group saves sharing each document with each person.")]));
}

function groupCard(group) {
  const members = users.filter(({ id }) => group.members?.includes(id));
  const others = users.filter(({ id }) => !group.members?.includes(id));
  return el(
    "section",
    { class: "card", "aria-label": group.name, data: { group: group.id } },
    el("h3", { dir: "auto" }, group.name),
    el("ul", { class: "chips", "aria-label": `Members of ${group.name}` }, ...chips(group, members)),
    others.length ? adder(group, others) : null,
  );
}

function chips(group, members) {
  if (!members.length) return [el("li", { class: "soft" }, "No members yet.")];
  return members.map((user) =>
    el(
      "li",
      { class: "chip" },
      el("span", { dir: "auto" }, user.name),
      el("button", { type: "button", "aria-label": `Remove ${user.name} from ${group.name}`, on: { click: () => setMember(group, user.id, "DELETE") } }, icon("cross")),
    ),
  );
}

function adder(group, others) {
  const choice = el("select", { "aria-label": `Person to add to ${group.name}` }, ...others.map((user) => el("option", { value: user.id }, user.name)));
  const add = (event) => {
    event.preventDefault();
    setMember(group, choice.value, "PUT");
  };
  return el("form", { class: "copy-row", on: { submit: add } }, choice, el("button", { type: "submit" }, "Add"));
}

async function setMember(group, userId, method) {
  showProblem(problem, null);
  try {
    await call(`/v1/groups/${encodeURIComponent(group.id)}/members/${encodeURIComponent(userId)}`, { method });
    showGroups((await call("/v1/groups")).data);
    // The control that was used has been rebuilt; keep the focus in the same group.
    groups.querySelector(`[data-group="${CSS.escape(group.id)}"]`)?.querySelector("select, button")?.focus();
  } catch (error) {
    showProblem(problem, error);
  }
}

newGroup.addEventListener("submit", async (event) => {
  event.preventDefault();
  showProblem(problem, null);
  try {
    await call("/v1/groups", { method: "POST", json: { name: newGroup.elements.name.value.trim() } });
    newGroup.reset();
    showGroups((await call("/v1/groups")).data);
  } catch (error) {
    showProblem(problem, error);
  }
});

load();
