// Let the person who asked say whether an answer helped; whoever says no may add why.

import { call } from "./api.js";
import { el } from "./elements.js";

const LONGEST_COMMENT = 2000;
const CHOICES = { good: "Helpful", bad: "Not helpful" };

/** Two buttons, one of which stays pressed once the server has taken it; `announce(words)` speaks. */
export function feedback(answerId, announce) {
  const said = el("span", { class: "hint", role: "status" });
  const group = el("span", { class: "feedback", role: "group", "aria-label": "Was this answer helpful?" });
  const buttons = Object.entries(CHOICES).map(([verdict, label]) => {
    const press = () => judge(verdict, "").then((taken) => taken && follow(verdict));
    return el("button", { type: "button", class: "quiet small", "aria-pressed": "false", data: { verdict }, on: { click: press } }, label);
  });
  group.append(...buttons, said);

  async function judge(verdict, comment) {
    said.textContent = "";
    try {
      await call("/v1/feedback", { method: "POST", json: { answer_id: answerId, verdict, comment } });
    } catch (error) {
      said.textContent = error.message;
      return false;
    }
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
    return true;
  }

  function follow(verdict) {
    group.querySelector("form")?.remove();
    if (verdict === "good") announce("Thank you.");
    else group.append(whyForm());
  }

  function whyForm() {
    const why = el("input", { "aria-label": "What was wrong?", placeholder: "What was wrong? (optional)", maxlength: String(LONGEST_COMMENT) });
    const form = el("form", {}, why, el("button", { class: "quiet small" }, "Send"));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!(await judge("bad", why.value))) return;
      form.remove();
      said.textContent = "Thank you.";
    });
    return form;
  }

  return group;
}
