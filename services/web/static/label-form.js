// What readers need besides being named: a clearance and compartments.

import { el } from "./elements.js";

export class LabelForm {
  #clearance;
  #compartments;

  /** Build the form into `place`; `save({clearance, compartments})` is called when it is sent. */
  constructor(place, save) {
    const [level, names] = [`${place.id}-clearance`, `${place.id}-compartments`];
    this.#clearance = el("input", { id: level, type: "number", min: 0, max: 100, step: 1, required: true, inputmode: "numeric", "aria-describedby": `${level}-hint` });
    this.#compartments = el("textarea", { id: names, rows: 2, autocomplete: "off", "aria-describedby": `${names}-hint` });
    const form = el(
      "form",
      { class: "stack" },
      el("p", { class: "soft small" }, "You cannot ask for more than you have yourself."),
      field(level, "Clearance", this.#clearance, "From 0 to 100. A reader needs at least this; 0 asks for nothing."),
      field(names, "Compartments", this.#compartments, "One a line. A reader needs every one of them."),
      el("div", {}, el("button", { type: "submit" }, "Save labels")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save({ clearance: this.#clearance.valueAsNumber, compartments: this.#names() });
    });
    place.append(form);
  }

  /** Show what is asked for now. */
  show({ clearance, compartments }) {
    this.#clearance.value = clearance;
    this.#compartments.value = compartments.join("\n");
  }

  #names() {
    const lines = this.#compartments.value.split("\n").map((line) => line.trim());
    return [...new Set(lines.filter((line) => line !== ""))];
  }
}

function field(id, label, control, hint) {
  return el("div", { class: "field" }, el("label", { for: id }, label), control, el("p", { class: "soft small", id: `${id}-hint` }, hint));
}
