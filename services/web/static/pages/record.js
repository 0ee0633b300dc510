// The record: latest events, one answer's events, and whether all of it is sound.

import { call } from "../api.js";
import { copyButton, el, showProblem } from "../elements.js";
import { count, eventName, whenExactly } from "../words.js";

const PAGE = 50;
const body = document.querySelector("#events tbody");
const more = document.getElementById("more");
const filtered = document.getElementById("filtered");
const problem = document.querySelector("#events").closest("section").querySelector(".problem");
let corr = new URLSearchParams(location.search).get("corr");
let next = null;

// --- events ---------------------------------------------------------------------------------------

async function load() {
  const query = new URLSearchParams({ limit: PAGE, newest: true });
  if (next !== null) query.set("before", next);
  if (corr) query.set("correlation", corr);
  showProblem(problem, null);
  try {
    const { data, next: following } = await call(`/v1/audit/events?${query}`);
    body.append(...data.flatMap(eventRows));
    next = following ?? null;
    more.hidden = next === null;
  } catch (error) {
    showProblem(problem, error);
  }
  body.setAttribute("aria-busy", "false");
  document.getElementById("empty").hidden = body.childElementCount > 0;
}

function reload(toCorr) {
  corr = toCorr;
  next = null;
  body.replaceChildren();
  filtered.hidden = !corr;
  filtered.querySelector("span").textContent = corr ? "Only the events of one request" : "";
  history.replaceState(null, "", corr ? `/record?corr=${encodeURIComponent(corr)}` : "/record");
  load();
}

function eventRows(event) {
  const detail = el("tr", { class: "event-detail", id: `detail-${event.id}`, hidden: true }, el("td", { colspan: 6 }));
  return [summary(event, detail), detail];
}

function summary(event, detail) {
  const name = eventName(event.type);
  // An entry that cannot be read any more has an index and nothing else.
  const time = event.time ? whenExactly(event.time) : "—";
  const open = el(
    "button",
    { type: "button", class: "quiet small", "aria-expanded": "false", "aria-controls": detail.id, "aria-label": `Details of ${name}, ${time}` },
    "Details",
  );
  open.addEventListener("click", () => {
    detail.hidden = !detail.hidden;
    open.setAttribute("aria-expanded", String(!detail.hidden));
    if (!detail.hidden) fillDetail(detail.firstElementChild, event);
  });
  return el(
    "tr",
    {},
    el("td", { class: "number" }, event.index === null ? "pending" : count(event.index)),
    el("td", { class: "number" }, time),
    el("td", { class: "event-name" }, name, el("code", {}, event.type)),
    el("td", { dir: "auto" }, event.actor?.label ?? event.actor?.kind ?? "—"),
    el("td", {}, event.outcome ?? "—"),
    el("td", {}, open),
  );
}

function fillDetail(cell, event) {
  if (cell.childElementCount) return;
  const revealed = el("div", { role: "status" });
  cell.append(
    el("pre", { tabindex: 0, "aria-label": "The entry" }, JSON.stringify(event, null, 2)),
    el(
      "div",
      { class: "actions start" },
      !event.corr || event.corr === corr ? null : el("button", { type: "button", class: "small", on: { click: () => reload(event.corr) } }, "Show this request’s events"),
      event.has_content ? revealButton(event, revealed) : null,
    ),
    revealed,
  );
}

function revealButton(event, place) {
  const note = el("span", { class: "soft small" }, "Looking is recorded under your name.");
  const button = el("button", { type: "button", class: "small" }, "Reveal content");
  button.addEventListener("click", async () => {
    try {
      const { text } = await call(`/v1/audit/events/${encodeURIComponent(event.id)}/content`);
      place.replaceChildren(el("p", { class: "revealed", dir: "auto" }, text));
      button.disabled = true;
    } catch (error) {
      place.replaceChildren(el("p", { class: "problem" }, error.message, error.hint ? el("span", { class: "hint" }, error.hint) : null));
    }
  });
  return el("span", {}, button, " ", note);
}

more.addEventListener("click", load);
filtered.querySelector("button").addEventListener("click", () => reload(null));

// --- integrity ------------------------------------------------------------------------------------

async function showCheckpoint() {
  const place = document.getElementById("checkpoint");
  try {
    const checkpoint = await call("/v1/audit/checkpoint");
    place.replaceChildren(
      el("dl", { class: "facts" }, el("dt", {}, "Entries"), el("dd", { class: "number" }, count(checkpoint.size)), el("dt", {}, "Verifier key"), el("dd", {}, el("code", {}, checkpoint.verifier_key))),
      el("pre", { class: "sealed", tabindex: 0, "aria-label": "Signed checkpoint" }, checkpoint.note),
      el("div", { class: "actions start" }, copyButton(checkpoint.note, "Copy checkpoint", "small"), el("span", { class: "soft small" }, "Keep it elsewhere: no later change to these entries can agree with it.")),
    );
  } catch (error) {
    place.replaceChildren(el("p", { class: "soft" }, error.status === 404 ? "Nothing has been sealed yet." : error.message));
  }
}

const verify = document.getElementById("verify");
const verdict = document.getElementById("verdict");
verify.addEventListener("click", async () => {
  verify.disabled = true;
  verdict.className = "";
  verdict.textContent = "Checking every entry…";
  try {
    const { result, message } = await call("/v1/audit/verify", { method: "POST" });
    verdict.className = result === "sound" ? "sound" : "unsound";
    verdict.textContent = message;
  } catch (error) {
    verdict.className = "unsound";
    verdict.textContent = error.message;
  }
  verify.disabled = false;
  showCheckpoint();
});

showCheckpoint();
reload(corr);
