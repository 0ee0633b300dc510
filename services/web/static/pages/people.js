// Who there is, and what they may do: invitations, accounts, groups, programs, and why somebody may read something.

import { AccessQuestion } from "../access-question.js";
import { AccountDialog } from "../account-dialog.js";
import { call } from "../api.js";
import { labelOf } from "../directory-words.js";
import { copyField, el, showProblem } from "../elements.js";
import { GroupCards } from "../group-cards.js";
import { LeakTest } from "../leak-test.js";
import { listenToNoAnswerText } from "../no-answer-text.js";
import { Programs } from "../programs.js";
import { ready } from "../ready.js";
import { day, when } from "../words.js";

const find = (id) => document.getElementById(id);
const invite = find("invite");
const invitation = find("invitation");
const problem = find("page-problem");
let me = null;
let directories = [];

// --- invitations ----------------------------------------------------------------------------------

invite.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = invite.querySelector(".problem");
  const form = new FormData(invite);
  const roles = form.getAll("roles");
  const email = form.get("email").trim();
  showProblem(place, roles.length ? null : { message: "Choose at least one role." });
  if (!roles.length) return;
  try {
    showInvitation(await call("/v1/invitations", { method: "POST", json: { roles, ...(email ? { email } : {}) } }));
    invite.elements.email.value = "";
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

// --- accounts -------------------------------------------------------------------------------------

const announce = (words) => { find("announcer").textContent = words; };
const account = new AccountDialog(find("account"), { changed: load, announce });
const groups = new GroupCards(find("groups"), find("groups-problem"), announce);
const programs = new Programs(find("programs"), { openAccount, announce });
const question = new AccessQuestion(find("why"), find("explanation"));
const leakTest = new LeakTest(find("leak-test"), announce);

function openAccount(user) {
  account.open(user, { own: user.id === me.id, origin: originWords(user) });
}

function originWords({ directories: from = [] }) {
  return from.length ? from.map((name) => labelOf(name, directories)).join(", ") : "Here";
}

function userRow(user) {
  const open = { type: "button", class: "name-button", "aria-haspopup": "dialog", data: { account: user.id }, on: { click: () => openAccount(user) } };
  return el(
    "tr",
    user.disabled ? { class: "closed" } : {},
    el("th", { scope: "row" }, el("button", open, el("span", { dir: "auto" }, user.name)), user.disabled ? el("span", { class: "chip" }, "closed") : null),
    el("td", {}, user.email ?? "—"),
    el("td", {}, user.roles.join(", ")),
    el("td", { dir: "auto" }, originWords(user)),
    el("td", { class: "number" }, day(user.created_at)),
  );
}

// --- everything together --------------------------------------------------------------------------

async function load() {
  try {
    const asked = ["/v1/users", "/v1/groups", "/v1/service-accounts"].map((address) => call(address));
    const [people, allGroups, allPrograms] = (await Promise.all(asked)).map(({ data }) => data);
    find("users").replaceChildren(...people.filter(({ kind }) => kind === "user").map(userRow));
    groups.show(allGroups, { people, me, directories });
    programs.show(allPrograms);
    question.about(people);
    leakTest.about(allGroups);
  } catch (error) {
    showProblem(problem, error);
  }
}

async function begin() {
  try {
    const [whoIAm, known] = await Promise.all([call("/v1/me"), call("/v1/directories")]);
    [me, directories] = [whoIAm, known.data];
  } catch (error) {
    showProblem(problem, error);
    return;
  }
  await load();
}

find("new-group").addEventListener("submit", (event) => groups.create(event));
programs.listen({ form: find("new-program"), created: load });
listenToNoAnswerText(find("nothing"));
ready();
begin();
