// One's own account: where it is signed in, its password and its API keys.

import "../reveal.js";
import { call } from "../api.js";
import { el, showProblem } from "../elements.js";
import { freshKey, keyFrom, keyRow, Revocation } from "../keys.js";
import { ready } from "../ready.js";
import { originOf, signedInWith } from "../directory-words.js";
import { when } from "../words.js";

const find = (id) => document.getElementById(id);
const newKey = find("new-key");
const fresh = find("fresh-key");
const changePassword = find("change-password");
let directories = [];

find("sign-out").addEventListener("click", async () => {
  await call("/v1/session", { method: "DELETE", stay: true }).catch(() => null);
  location.replace("/sign-in");
});

// --- where one is signed in -----------------------------------------------------------------------

async function loadSessions() {
  try {
    const { data } = await call("/v1/sessions");
    find("sessions").replaceChildren(...data.map(sessionRow));
    find("end-others-row").hidden = data.length < 2;
    showProblem(find("sessions-problem"), null);
  } catch (error) {
    showProblem(find("sessions-problem"), error);
  }
  find("sessions").setAttribute("aria-busy", "false");
}

function sessionRow(session) {
  const facts = [signedInWith(session.auth_method, directories), `Ends ${when(session.expires_at)}`];
  return el(
    "li",
    { class: "row" },
    el("h3", { class: "row-title" }, `Since ${when(session.created_at)}`),
    session.current ? el("p", { class: "chip here" }, "This browser") : null,
    el("p", { class: "row-facts" }, ...facts.map((fact) => el("span", { dir: "auto" }, fact))),
  );
}

find("end-others").addEventListener("click", async () => {
  try {
    await call("/v1/sessions", { method: "DELETE" });
  } catch (error) {
    showProblem(find("sessions-problem"), error);
    return;
  }
  await loadSessions();
  find("sessions-status").textContent = "You are signed in here only.";
  // The button that was pressed is gone.
  find("sessions-title").focus();
});

// --- password -------------------------------------------------------------------------------------

function showPassword(me) {
  changePassword.hidden = !me.has_password;
  find("password-elsewhere").hidden = me.has_password;
  if (me.has_password) return;
  const origin = originOf(me.auth_method, directories);
  if (origin) find("password-elsewhere").textContent = `You sign in with ${origin}. Change your password there.`;
}

changePassword.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = changePassword.querySelector(".problem");
  const { current, new: wanted } = changePassword.elements;
  showProblem(place, null);
  find("password-status").textContent = "";
  try {
    await call("/v1/me/password", { method: "POST", json: { current: current.value, new: wanted.value } });
  } catch (error) {
    showProblem(place, error);
    changePassword.elements[error.param]?.select();
    return;
  }
  changePassword.reset();
  find("password-status").textContent = "Your password is changed.";
  await loadSessions();
});

// --- keys -----------------------------------------------------------------------------------------

const revocation = new Revocation(find("revoke"), async () => {
  fresh.hidden = true;
  await loadKeys();
  find("key-name").focus();
});

async function loadKeys() {
  try {
    const { data } = await call("/v1/keys");
    find("keys").replaceChildren(...data.map((key) => keyRow(key, () => revocation.open(key, `/v1/keys/${encodeURIComponent(key.id)}`))));
    find("no-keys").hidden = data.length > 0;
  } catch (error) {
    showProblem(find("keys-problem"), error);
  }
}

newKey.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = newKey.querySelector(".problem");
  const scopes = new FormData(newKey).getAll("scopes");
  showProblem(place, scopes.length ? null : { message: "Choose at least one thing that programs can do with it." });
  if (!scopes.length) return;
  try {
    const made = await call("/v1/keys", { method: "POST", json: keyFrom(newKey, scopes) });
    newKey.reset();
    fresh.hidden = false;
    fresh.replaceChildren(...freshKey(made));
    await loadKeys();
  } catch (error) {
    showProblem(place, error);
  }
});

async function load() {
  try {
    const [known, me] = await Promise.all([call("/v1/directories"), call("/v1/me")]);
    directories = known.data;
    showPassword(me);
  } catch (error) {
    showProblem(find("sessions-problem"), error);
  }
  await Promise.all([loadSessions(), loadKeys()]);
}

ready();
load();
