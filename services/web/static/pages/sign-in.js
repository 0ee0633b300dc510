// The door: an account here, or one in a company directory.

import "../reveal.js";
import { call } from "../api.js";
import { el, showProblem } from "../elements.js";
import { signIn } from "../sign-in-request.js";
import { Wait } from "../wait.js";

const find = (id) => document.getElementById(id);
const form = find("sign-in");
const problem = form.querySelector(".problem");
const submit = form.querySelector("[type=submit]");
const where = find("where");
const wait = new Wait(find("wait"), find("wait-announcer"));
const REMEMBERED = "strongroom.sign-in.directory";

// --- what went wrong elsewhere --------------------------------------------------------------------

const PROBLEMS = {
  declined: { message: "You were not signed in.", hint: "The company sign-in was cancelled, or did not let you through." },
  expired: { message: "That took too long, or began in another browser.", hint: "Try again from here." },
  closed: { message: "Your account is closed.", hint: "Ask an administrator." },
  throttled: { message: "Too many sign-ins from here have failed.", hint: "Wait a few minutes, then try again." },
  unavailable: { message: "The company sign-in cannot be reached at the moment.", hint: "Try again in a minute. If that does not help, ask an administrator." },
  refused: { message: "The company sign-in could not be used.", hint: "Try again. If that does not help, ask an administrator." },
};

function showWhatWentWrong() {
  const code = new URLSearchParams(location.search).get("problem");
  if (code !== null) showProblem(find("came-back"), Object.hasOwn(PROBLEMS, code) ? PROBLEMS[code] : PROBLEMS.refused);
}

// --- company directories --------------------------------------------------------------------------

async function showDirectories() {
  // Without them one can still sign in with an account here.
  const { data } = await call("/v1/directories", { stay: true }).catch(() => ({ data: [] }));
  showProviders(data.filter(({ kind }) => kind === "oidc"));
  showServers(data.filter(({ kind }) => kind === "ldap"));
  if (data.length) find("ask-for").textContent = "Use your company’s sign-in, or ask an administrator for an invitation link.";
}

function showProviders(providers) {
  find("elsewhere").hidden = providers.length === 0;
  find("elsewhere").querySelector("ul").replaceChildren(...providers.map(providerLink));
}

function providerLink({ name, label }) {
  const href = `/v1/directories/${encodeURIComponent(name)}/sign-in?next=${encodeURIComponent(form.dataset.after)}`;
  return el("li", {}, el("a", { class: "button wide", href }, el("span", { dir: "auto" }, `Sign in with ${label}`)));
}

function showServers(servers) {
  where.hidden = servers.length === 0;
  if (where.hidden) return;
  const last = remembered();
  const choices = [{ name: "", label: "An account here" }, ...servers];
  const chosen = choices.some(({ name }) => name === last) ? last : "";
  where.querySelector(".segments").replaceChildren(...choices.map((choice) => segment(choice, choice.name === chosen)));
  nameTheField();
}

function segment({ name, label }, checked) {
  return el("label", {}, el("input", { type: "radio", name: "directory", value: name, checked }), el("span", { dir: "auto" }, label));
}

// A directory may know people by another name than their e-mail address.
function nameTheField() {
  const elsewhere = Boolean(form.elements.directory?.value);
  form.querySelector("label[for=email]").textContent = elsewhere ? "Name or e-mail" : "E-mail";
  form.elements.email.type = elsewhere ? "text" : "email";
}

where.addEventListener("change", nameTheField);

// Only which directory this browser used last, so that nobody has to choose it every morning.
function remembered() {
  try {
    return localStorage.getItem(REMEMBERED) ?? "";
  } catch {
    return "";
  }
}

function remember(directory) {
  try {
    localStorage.setItem(REMEMBERED, directory ?? "");
  } catch {
    // A browser that keeps nothing asks again.
  }
}

// --- sign in --------------------------------------------------------------------------------------

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  showProblem(problem, null);
  showProblem(find("came-back"), null);
  wait.stop();
  submit.disabled = true;
  const { email, password, directory } = Object.fromEntries(new FormData(form));
  try {
    await signIn({ email, password, directory: directory || null });
    remember(directory);
    location.replace(form.dataset.after);
  } catch (error) {
    submit.disabled = false;
    if (error.retryAfterS) wait.begin(error.retryAfterS);
    else showProblem(problem, error);
    form.elements.password.select();
  }
});

showWhatWentWrong();
showDirectories();
