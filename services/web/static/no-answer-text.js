// The text that follows every question without an answer.

import { call } from "./api.js";
import { showProblem } from "./elements.js";

const ADDRESS = "/v1/choices/no_answer_text";

/** Show what is chosen in `form`, and choose what is submitted. */
export function listenToNoAnswerText(form) {
  const [field, place, status] = [form.elements.text, form.querySelector(".problem"), form.querySelector(".done")];
  const show = ({ value }) => { field.value = value ?? ""; };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    showProblem(place, null);
    status.textContent = "";
    try {
      show(await call(ADDRESS, { method: "PUT", json: { value: field.value.trim() || null } }));
      status.textContent = field.value ? "Saved." : "Saved: nothing is shown.";
    } catch (error) {
      showProblem(place, error);
    }
  });
  field.addEventListener("input", () => { status.textContent = ""; });
  call(ADDRESS).then(show, (error) => showProblem(place, error));
}
