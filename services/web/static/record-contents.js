// Opening what people wrote: it is recorded, and where two auditors are needed, the second one is asked here.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";

const PERMISSIONS = "/v1/audit/content-permissions";

/** A button that shows the content of the entry `id` in `place`; `asked()` follows a request for permission. */
export function contentButton(id, place, asked) {
  const button = el("button", { type: "button", class: "small" }, "Reveal content");
  button.addEventListener("click", async () => {
    place.replaceChildren(el("p", { class: "soft" }, "Opening…"));
    try {
      const { text } = await call(`/v1/audit/events/${encodeURIComponent(id)}/content`);
      place.replaceChildren(el("p", { class: "revealed", dir: "auto" }, readable(text)));
      button.disabled = true;
    } catch (error) {
      showRefusal(place, error, asked);
    }
  });
  return el("span", {}, button, " ", el("span", { class: "soft small" }, "Looking is recorded under your name."));
}

/** Say why contents stay closed and, where a second auditor could open them, offer to ask. */
export function showRefusal(place, error, asked) {
  const problem = el("p", { class: "problem" });
  showProblem(problem, error);
  place.replaceChildren(problem);
  if (error.code === "not_permitted") place.append(permissionForm(asked));
}

/** Ask for permission to read contents; returns the request. */
export function askPermission(reason) {
  return call(PERMISSIONS, { method: "POST", json: { reason } });
}

function permissionForm(asked) {
  const reason = el("input", { required: true, maxlength: 1000, autocomplete: "off", "aria-label": "Why do you need to read contents?", placeholder: "Why do you need to read contents?" });
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const form = el("form", { class: "row-form ask-permission", method: "post" }, el("div", { class: "field" }, reason), el("button", { type: "submit" }, "Ask a second auditor"), problem);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await askPermission(reason.value.trim());
      form.parentElement.replaceChildren(el("p", { class: "notice" }, "Asked. When another auditor has approved it on this page, try again."));
      asked();
    } catch (error) {
      showProblem(problem, error);
    }
  });
  return form;
}

// Questions and passages are kept with their surroundings, as JSON; people read text.
function readable(text) {
  try {
    const found = JSON.parse(text);
    if (typeof found?.question === "string") return found.question;
    if (Array.isArray(found?.quotes)) return found.quotes.map(({ n, quote }) => `[${n}] ${quote}`).join("\n\n");
    if (Array.isArray(found?.queries)) return found.queries.join("\n");
    return typeof found === "object" ? JSON.stringify(found, null, 2) : text;
  } catch {
    return text;
  }
}
