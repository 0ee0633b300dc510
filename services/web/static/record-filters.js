// What is looked for in the record: the form, the address of the page, and the query of the interface.

import { el } from "./elements.js";
import { eventChoices, looks } from "./record-words.js";

const NAMES = ["who", "type", "document", "correlation", "outcome"];
const TIMES = ["from", "to"];
// What most people never fill in stands behind “More filters”.
const RARE = ["document", "correlation", "outcome"];

export class Filters {
  #form;
  #all = document.getElementById("show-all");

  /** `changed()` is called when something else is looked for. */
  constructor(form, changed) {
    this.#form = form;
    this.#offerTypes();
    this.#fromAddress();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#changed(changed);
    });
    form.elements.looks.addEventListener("change", () => this.#changed(changed));
    this.#all.addEventListener("click", () => {
      form.reset();
      this.#changed(changed);
    });
    this.#show();
  }

  /** Look for something else instead; `wanted` holds fields of the form. */
  only(wanted) {
    this.#form.reset();
    for (const [name, value] of Object.entries(wanted)) this.#form.elements[name].value = value;
    this.#form.requestSubmit();
  }

  /** What one request is narrowed to, if it is. */
  get correlation() {
    return this.#value("correlation");
  }

  /** The parameters of `/v1/audit/events`. */
  query() {
    const query = new URLSearchParams(this.#filled(NAMES));
    for (const name of TIMES) {
      const time = this.#value(name);
      // A field without a zone means the reader's own time.
      if (time) query.set(name, String(new Date(time).getTime()));
    }
    // Whoever asks for one kind of event, or for one request, is shown all of it.
    if (!this.#form.elements.looks.checked && !query.has("type") && !query.has("correlation")) query.set("without", looks().join());
    return query;
  }

  #offerTypes() {
    const choice = this.#form.elements.type;
    for (const [label, choices] of eventChoices()) {
      choice.append(el("optgroup", { label }, ...choices.map(([value, words]) => el("option", { value }, words))));
    }
  }

  #value(name) {
    return this.#form.elements[name].value.trim();
  }

  #filled(names) {
    return names.map((name) => [name, this.#value(name)]).filter(([, value]) => value);
  }

  #fromAddress() {
    const address = new URLSearchParams(location.search);
    // Receipts lead here with the answer's id alone.
    if (address.has("corr")) address.set("correlation", address.get("corr"));
    for (const name of [...NAMES, ...TIMES]) if (address.has(name)) this.#form.elements[name].value = address.get(name);
    this.#form.elements.looks.checked = address.has("looks");
  }

  #changed(changed) {
    const address = new URLSearchParams(this.#filled([...NAMES, ...TIMES]));
    if (this.#form.elements.looks.checked) address.set("looks", "");
    history.replaceState(null, "", address.size ? `/record?${address}` : "/record");
    this.#show();
    changed();
  }

  #show() {
    this.#all.hidden = this.#filled([...NAMES, ...TIMES]).length === 0;
    if (this.#filled(RARE).length) this.#form.querySelector("details").open = true;
  }
}
