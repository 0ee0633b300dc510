// The leak test: what the last one found out, and one that runs now.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";
import { count, plural, when } from "./words.js";

const ADDRESS = "/v1/access/leak-test";
const PERIOD_MS = 1000;
// A result is on the record a moment after its run has ended.
const PATIENCE = 5;
const MOST_SHOWN = 10;

const RULES = {
  group: "shared with another group",
  person: "shared with another person",
  clearance: "clearance",
  compartment: "compartment",
  collection: "collection of others",
  narrowed: "narrowed within a collection",
  deny: "denied",
};

export class LeakTest {
  #section;
  #problem;
  #button;
  #announce;
  #groups = new Map();
  #last = null;
  #waited = 0;
  #followed = false;

  /** `announce(words)` tells those who do not see it that a run has begun or ended. */
  constructor(section, announce) {
    this.#section = section;
    this.#announce = announce;
    this.#problem = section.querySelector(".problem");
    this.#button = section.querySelector("button");
    this.#button.addEventListener("click", () => this.#begin());
    this.#look();
  }

  /** Learn what `groups` are called, which results name by their ids. */
  about(groups) {
    this.#groups = new Map(groups.map(({ id, name }) => [id, name]));
    if (this.#last) this.#showResult(this.#last);
  }

  #part(name) {
    return this.#section.querySelector(`#leak-${name}`);
  }

  async #begin() {
    showProblem(this.#problem, null);
    this.#waited = 0;
    this.#button.disabled = true;
    try {
      this.#follow(await call(ADDRESS, { method: "POST" }));
      this.#announce("The leak test has begun.");
    } catch (error) {
      this.#fail(error);
    }
  }

  async #look() {
    try {
      this.#follow(await call(ADDRESS));
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    showProblem(this.#problem, error);
    this.#part("progress").hidden = true;
    this.#button.disabled = false;
  }

  #follow(test) {
    const running = test.state === "running";
    const awaited = !running && test.run && test.last?.id !== test.run && this.#waited++ < PATIENCE;
    const again = running || awaited;
    this.#button.disabled = again;
    this.#part("progress").hidden = !again;
    if (again) {
      this.#showProgress(test);
      setTimeout(() => this.#look(), PERIOD_MS);
    } else {
      if (this.#followed && test.last) this.#announce(`The leak test has ended. ${verdict(test.last)}`);
      this.#showResult(test.last);
    }
    this.#followed = again;
  }

  #showProgress({ step, done, total }) {
    const words = step ? step.charAt(0).toUpperCase() + step.slice(1) : "Writing down the result";
    this.#part("step").textContent = total ? `${words} · ${count(done)} of ${count(total)}` : words;
    const bar = this.#section.querySelector("progress");
    if (total) bar.value = (100 * done) / total;
    else bar.removeAttribute("value");
    this.#part("result").textContent = "The test is running.";
  }

  #showResult(last) {
    this.#last = last;
    if (last === null) {
      this.#part("result").replaceChildren("It has not run yet.");
      return;
    }
    const found = [...last.leaks.map((leak) => this.#leakItem(leak)), ...last.unproven.map((each) => this.#unprovenItem(each))];
    const more = last.leak_count + last.unproven_count - Math.min(found.length, MOST_SHOWN);
    this.#part("result").replaceChildren(
      el("p", { class: last.outcome === "clean" ? "sound" : "unsound" }, verdict(last)),
      ...(last.failure ? [el("p", {}, last.failure)] : []),
      ...(found.length ? [el("ul", {}, ...found.slice(0, MOST_SHOWN))] : []),
      ...(more > 0 ? [el("p", { class: "soft small" }, `${count(more)} more: see the record, or “strongroom access leak-test”.`)] : []),
      ...last.notes.map((note) => el("p", { class: "soft small" }, note)),
      el("p", { class: "soft small" }, `${when(last.started_at)}, ${last.cause === "nightly" ? "every night" : "on demand"} · ${plural(last.canaries.length, "document")} planted, ${plural(last.asked, "request")} judged`),
    );
  }

  #leakItem({ interface: door, operation, role, rule, what }) {
    return el("li", {}, el("strong", {}, door), ` told somebody in the role ${role}: ${what} (${this.#ruleWords(rule)}). `, el("code", { class: "soft" }, operation));
  }

  #unprovenItem({ interface: door, rule, why }) {
    return el("li", {}, el("strong", {}, door), ` proved nothing (${this.#ruleWords(rule)}): ${why}`);
  }

  #ruleWords({ kind, about }) {
    const words = RULES[kind] ?? kind;
    return about ? `${words} ${this.#groups.get(about) ?? about}` : words;
  }
}

function verdict({ outcome, leak_count: leaks }) {
  if (outcome === "clean") return "Nothing leaked.";
  return outcome === "leak" ? `${plural(leaks, "leak")} found.` : "No leak was found, but not everything could be proved.";
}
