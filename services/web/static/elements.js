// Build markup as elements, never as strings: text stays text, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; `attributes` may hold `class`, `on` (listeners), `data`, plain attributes and booleans. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, { on = {}, data = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SHAPES = {
  cross: "m5 5 10 10M15 5 5 15",
  check: "m4 10.5 4 4 8-9",
};

/** Make one of the small pictures, hidden from screen readers: a label stands beside it. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, svg("path", { d: SHAPES[name] }));
}

/** Show `error` in the `.problem` element `place`, or clear it with null. */
export function showProblem(place, error) {
  place.replaceChildren();
  place.hidden = error === null;
  if (error === null) return;
  place.append(error.message);
  if (error.hint) place.append(el("span", { class: "hint" }, error.hint));
}

/** Let every `[data-close]` button of `dialog`, and a click beside it, close it. */
export function closable(dialog) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
  });
}

/** A secret that is shown once: a read-only field and a button that copies it. */
export function copyField(label, value) {
  const field = el("input", { value, readonly: true, "aria-label": label, spellcheck: "false" });
  field.addEventListener("focus", () => field.select());
  return el("div", { class: "copy-row" }, field, copyButton(value));
}

/** A button that copies `value` and says that it did. */
export function copyButton(value, label = "Copy", look = "") {
  const button = el("button", { type: "button", class: look }, label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(value);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}
