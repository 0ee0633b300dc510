// API keys and signing out.

import { call } from "../api.js";
import { closable, copyField, el, showProblem } from "../elements.js";
import { day } from "../words.js";

const problem = document.querySelector("section > .problem");
const form = document.getElementById("new-key");
const fresh = document.getElementById("fresh-key");
const revocation = document.getElementById("revoke");
let condemned = null;

document.getElementById("sign-out").addEventListener("click", async () => {
  await call("/v1/session", { method: "DELETE", stay: true }).catch(() => null);
  location.replace("/sign-in");
});

async function load() {
  try {
    const { data } = await call("/v1/keys");
    const live = data.filter((key) => !key.revoked_at);
    document.getElementById("keys").replaceChildren(...live.map(keyRow));
    document.getElementById("no-keys").hidden = live.length > 0;
  } catch (error) {
    showProblem(problem, error);
  }
}

function keyRow(key) {
  const revoke = () => {
    condemned = key;
    document.getElementById("revoke-name").textContent = key.name;
    showProblem(revocation.querySelector(".problem"), null);
    revocation.showModal();
  };
  return el(
    "li",
    { class: "row" },
    el("h3", { class: "row-title", dir: "auto" }, key.name),
    el("div", { class: "row-actions" }, el("button", { type: "button", class: "quiet small", "aria-label": `Revoke ${key.name}`, on: { click: revoke } }, "Revoke")),
    el("p", { class: "row-facts" }, el("span", {}, `Created ${day(key.created_at)}`), el("span", {}, key.expires_at ? `Expires ${day(key.expires_at)}` : "Does not expire")),
  );
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  showProblem(problem, null);
  const days = form.elements.days.value;
  const json = { name: form.elements.name.value.trim(), ...(days ? { expires_in_days: Number(days) } : {}) };
  try {
    const { name, key } = await call("/v1/keys", { method: "POST", json });
    form.reset();
    fresh.hidden = false;
    fresh.replaceChildren(
      el("p", {}, el("strong", { dir: "auto" }, name), ": copy the key now, it is not shown again."),
      copyField("API key", key),
    );
    await load();
  } catch (error) {
    showProblem(problem, error);
  }
});

document.getElementById("revoke-confirm").addEventListener("click", async () => {
  try {
    await call(`/v1/keys/${encodeURIComponent(condemned.id)}`, { method: "DELETE" });
  } catch (error) {
    showProblem(revocation.querySelector(".problem"), error);
    return;
  }
  fresh.hidden = true;
  revocation.close();
  await load();
  document.getElementById("key-name").focus();
});

closable(revocation);
load();
