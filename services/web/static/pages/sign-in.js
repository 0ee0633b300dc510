import "../reveal.js";
import { call } from "../api.js";
import { showProblem } from "../elements.js";

const form = document.getElementById("sign-in");
const problem = form.querySelector(".problem");
const submit = form.querySelector("[type=submit]");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  showProblem(problem, null);
  submit.disabled = true;
  try {
    await call("/v1/session", { method: "POST", json: Object.fromEntries(new FormData(form)), stay: true });
    location.replace(form.dataset.after);
  } catch (error) {
    showProblem(problem, error);
    submit.disabled = false;
    form.elements.password.select();
  }
});
