// For curators: documents whose processing failed too often, with the reason, to be tried again or discarded.

import { call } from "./api.js";
import { closable, el, showProblem } from "./elements.js";
import { plural, when } from "./words.js";

// Few at a time: they stand above everybody's documents.
const PAGE = 5;

export class QuarantineList {
  #section;
  #list;
  #more;
  #discard;
  #actions;
  #condemned = null;
  #busy = false;

  /** `actions`: released(job), discarded(job), and say(words) for screen readers. */
  constructor(section, discard, actions) {
    this.#section = section;
    this.#list = section.querySelector("ul");
    this.#more = section.querySelector("[data-more]");
    this.#discard = discard;
    this.#actions = actions;
    closable(discard);
    discard.querySelector(".danger").addEventListener("click", () => this.#discardNow());
    this.#more.addEventListener("click", () => this.#load(this.#list.lastElementChild?.dataset.job));
  }

  /** Read the list again. */
  load() {
    return this.#load();
  }

  async #load(after = null) {
    const problem = this.#section.querySelector(":scope > .problem");
    showProblem(problem, null);
    try {
      const { data, has_more: more } = await call(`/v1/jobs?state=quarantined&limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
      if (after === null) this.#list.replaceChildren();
      this.#list.append(...data.map((job) => this.#entry(job)));
      this.#more.hidden = !more;
    } catch (error) {
      showProblem(problem, error);
      this.#section.hidden = false;
      return;
    }
    this.#tidy();
  }

  #tidy() {
    this.#section.hidden = this.#list.childElementCount === 0;
  }

  #entry(job) {
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const reason = job.reason ?? { message: "Reading this document failed several times.", hint: null };
    const button = (words, press) => el("button", { type: "button", class: "quiet small", "aria-label": `${words} ${job.filename}`, on: { click: press } }, words);
    const item = el(
      "li",
      { class: "row", data: { job: job.id } },
      el("h3", { class: "row-title", dir: "auto" }, job.filename),
      el(
        "div",
        { class: "row-actions" },
        button("Release", () => this.#release(job, item, problem)),
        button("Discard", () => this.#ask(job, item)),
      ),
      el("p", { class: "row-facts" }, el("span", {}, `Tried ${plural(job.attempt, "time")}`), el("span", {}, when(job.updated_at))),
      el("div", { class: "row-state" }, el("p", {}, reason.message, reason.hint ? el("span", { class: "soft" }, ` ${reason.hint}`) : null), problem),
    );
    return item;
  }

  async #release(job, item, problem) {
    showProblem(problem, null);
    try {
      const now = await call(`/v1/jobs/${encodeURIComponent(job.id)}/retry`, { method: "POST" });
      this.#actions.say(`${job.filename} was released and is read again.`);
      this.#drop(item);
      this.#actions.released(now);
    } catch (error) {
      if (error.status === 404) this.#drop(item);
      else showProblem(problem, error);
    }
  }

  #ask(job, item) {
    this.#condemned = { job, item };
    this.#discard.querySelector("strong").textContent = job.filename;
    showProblem(this.#discard.querySelector(".problem"), null);
    this.#discard.showModal();
  }

  async #discardNow() {
    if (this.#busy) return;
    this.#busy = true;
    const { job, item } = this.#condemned;
    try {
      await call(`/v1/jobs/${encodeURIComponent(job.id)}/discard`, { method: "POST" });
      this.#gone(job, item);
    } catch (error) {
      // Whatever is gone already is as it should be.
      if (error.status === 404) this.#gone(job, item);
      else showProblem(this.#discard.querySelector(".problem"), error);
    }
    this.#busy = false;
  }

  #gone(job, item) {
    this.#discard.close();
    this.#actions.say(`${job.filename} was discarded.`);
    this.#drop(item);
    this.#actions.discarded(job);
  }

  // The focus goes on to the next one, and from the last one back to the documents.
  #drop(item) {
    const held = item.contains(document.activeElement);
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    this.#tidy();
    if (held) (next?.querySelector("button") ?? document.getElementById("list-title")).focus();
  }
}
