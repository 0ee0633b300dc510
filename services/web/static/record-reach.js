// Where a document reached: how many, who, and in which answers, searches, openings and kept conversations.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";
import { count, eventName, when, whenExactly } from "./words.js";

const PAGE = 25;
const FIGURES = {
  people: ["person", "people"],
  answers: ["answer", "answers"],
  searches: ["search", "searches"],
  openings: ["opening", "openings"],
  conversations: ["conversation opened", "conversations opened"],
};

export class Reach {
  #form;
  #acts;
  #problem = document.getElementById("reach-problem");
  #state = document.getElementById("reach-state");
  #result = document.getElementById("reach-result");
  #turn = 0;

  /** `acts` are `answer(id)` and `only(wanted)`. */
  constructor(form, acts) {
    this.#form = form;
    this.#acts = acts;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#show();
    });
  }

  /** Show the reach of a document, or of one version of it. */
  of(file, version) {
    this.#form.elements.document.value = file;
    this.#form.elements.version.value = version ?? "";
    this.#form.requestSubmit();
    const heading = document.getElementById("reach-title");
    heading.scrollIntoView();
    heading.focus({ preventScroll: true });
  }

  async #show() {
    const turn = ++this.#turn;
    showProblem(this.#problem, null);
    this.#result.hidden = true;
    this.#state.textContent = "Looking through the record…";
    try {
      const [reach, people] = await Promise.all([this.#get("reach"), this.#get("people")]);
      if (turn !== this.#turn) return;
      this.#fill(reach, people);
    } catch (error) {
      if (turn === this.#turn) showProblem(this.#problem, error);
    }
    if (turn === this.#turn) this.#state.textContent = "";
  }

  #get(what, more = {}) {
    const version = this.#form.elements.version.value.trim();
    const query = new URLSearchParams({ limit: PAGE, ...(version ? { version } : {}), ...more });
    return call(`/v1/audit/documents/${encodeURIComponent(this.#form.elements.document.value.trim())}/${what}?${query}`);
  }

  #fill(reach, people) {
    const { counts, document: file } = reach;
    const figures = Object.entries(FIGURES).map(([name, words]) => el("li", {}, el("strong", {}, count(counts[name])), words[counts[name] === 1 ? 0 : 1]));
    const known = file.versions.length === 1 ? "One version is known" : `${count(file.versions.length)} versions are known`;
    this.#result.replaceChildren(
      el("ul", { class: "figures", "aria-label": "How far it reached" }, ...figures),
      el("p", { class: "soft small" }, `${known}. ${file.deleted ? "The document has been deleted." : "The document is still here."}`),
      ...(counts.people ? [el("h3", {}, "Who"), ...this.#list("people", people, PEOPLE, (row) => this.#personRow(row), (last) => ({ after: last.sub }))] : []),
      ...(reach.data.length ? [el("h3", {}, "In what"), ...this.#list("reach", reach, TOUCHES, (row) => this.#touchRow(row), (_, page) => ({ cursor: page.older }))] : []),
    );
    this.#result.hidden = false;
  }

  /** A table of one list, with a button that brings its next page. */
  #list(what, first, heads, rowOf, nextOf) {
    const body = el("tbody", {}, ...first.data.map(rowOf));
    const more = el("button", { type: "button", class: "small" }, "Show more");
    let page = first;
    more.hidden = !page.has_more;
    more.addEventListener("click", async () => {
      more.disabled = true;
      try {
        page = await this.#get(what, nextOf(page.data.at(-1), page));
        body.append(...page.data.map(rowOf));
        more.hidden = !page.has_more;
      } catch (error) {
        showProblem(this.#problem, error);
      }
      more.disabled = false;
    });
    const head = el("tr", {}, ...heads.map((words) => el("th", { scope: "col" }, words || el("span", { class: "visually-hidden" }, "Open"))));
    const label = what === "people" ? "Who it reached" : "What it went into";
    return [el("div", { class: "table-box", tabindex: 0, role: "region", "aria-label": label }, el("table", {}, el("thead", {}, head), body)), el("p", {}, more)];
  }

  #personRow({ sub, label, answers, searches, openings, conversations, first, last }) {
    const who = el("button", { type: "button", class: "name-button", on: { click: () => this.#acts.only({ who: sub }) } }, label);
    const counts = [answers, searches, openings, conversations].map((number) => el("td", { class: "number" }, count(number)));
    return el("tr", {}, el("td", { dir: "auto" }, who), ...counts, el("td", {}, when(first)), el("td", {}, when(last)));
  }

  #touchRow({ type, time, corr, who, passages }) {
    const cited = passages?.some((passage) => passage.cited === 1) ? "cited" : "";
    const isAnswer = type.startsWith("answer.");
    const open = isAnswer ? () => this.#acts.answer(corr) : () => this.#acts.only({ correlation: corr });
    return el(
      "tr",
      {},
      el("td", { class: "number" }, time ? whenExactly(time) : "—"),
      el("td", {}, isAnswer ? "Answer" : eventName(type), cited ? el("span", { class: "soft" }, ` ${cited}`) : null),
      el("td", { dir: "auto" }, who?.label ?? "—"),
      el("td", {}, corr ? el("button", { type: "button", class: "quiet small", "aria-label": `${isAnswer ? "Follow the answer" : "Show the request"} of ${whenExactly(time)}`, on: { click: open } }, isAnswer ? "Follow" : "Show") : null),
    );
  }
}

const PEOPLE = ["Person", "Answers", "Searches", "Openings", "Conversations", "First", "Last"];
const TOUCHES = ["Time", "What", "Who", ""];
