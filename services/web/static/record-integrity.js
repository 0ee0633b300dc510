// Whether the record is sound: the newest checkpoint, and a check of everything.

import { call } from "./api.js";
import { copyButton, el } from "./elements.js";
import { count } from "./words.js";

const checkpointPlace = document.getElementById("checkpoint");
const verify = document.getElementById("verify");
const verdict = document.getElementById("verdict");
const progress = document.getElementById("verifying");

/** Show the newest checkpoint, and check the record when the button is pressed. */
export function listenToIntegrity() {
  verify.addEventListener("click", check);
  showCheckpoint();
}

async function showCheckpoint() {
  try {
    const { size, note, verifier_key: key } = await call("/v1/audit/checkpoint");
    if (note === null) {
      checkpointPlace.replaceChildren(el("p", { class: "soft" }, "Nothing has been sealed yet."));
      return;
    }
    checkpointPlace.replaceChildren(
      el("dl", { class: "facts" }, el("dt", {}, "Entries"), el("dd", { class: "number" }, count(size)), el("dt", {}, "Verifier key"), el("dd", {}, el("code", {}, key))),
      el("pre", { class: "sealed", tabindex: 0, "aria-label": "Signed checkpoint" }, note),
      el("div", { class: "actions start" }, copyButton(note, "Copy checkpoint", "small"), el("span", { class: "soft small" }, "Keep it elsewhere: no later change to these entries can agree with it.")),
    );
  } catch (error) {
    checkpointPlace.replaceChildren(el("p", { class: "problem" }, error.message));
  }
}

async function check() {
  verify.disabled = true;
  progress.hidden = false;
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
  progress.hidden = true;
  verify.disabled = false;
  showCheckpoint();
}
