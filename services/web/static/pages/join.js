// The invitation stands in the address's fragment, which browsers never send to a server or a proxy's log.

import "../reveal.js";
import { call } from "../api.js";
import { showProblem } from "../elements.js";

const form = document.getElementById("join");
const problem = form.querySelector(".problem");
const submit = form.querySelector("[type=submit]");
const token = location.hash.slice(1);

if (!token) {
  document.getElementById("no-token").hidden = false;
  form.hidden = true;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  showProblem(problem, null);
  submit.disabled = true;
  try {
    const values = Object.fromEntries(new FormData(form));
    await call("/v1/invitations/accept", { method: "POST", json: { ...values, token }, stay: true });
    location.replace("/?welcome");
  } catch (error) {
    showProblem(problem, error);
    submit.disabled = false;
    form.elements[error.param]?.focus();
  }
});
