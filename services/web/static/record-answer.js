// One answer, followed from the question over the passages to the text.

import { call } from "./api.js";
import { closable, el, showProblem } from "./elements.js";
import { showRefusal } from "./record-contents.js";
import { outcomeInWords } from "./record-words.js";
import { count, eventName, plural, whenExactly } from "./words.js";

const CITED = { 1: "cited", 0: "not cited", "-1": "not known" };
const ERASED = "It was erased with the person who asked, or destroyed when its time was over.";

export class AnswerDialog {
  #dialog;
  #body;
  #acts;

  /** `acts` are `only(wanted)`, `reach(document, version)` and `asked()`; the first two leave the dialog. */
  constructor(dialog, acts) {
    this.#dialog = dialog;
    this.#body = dialog.querySelector("#answer-body");
    this.#acts = acts;
    closable(dialog);
  }

  /** Fetch and show the answer `id`. */
  async open(id) {
    this.#body.replaceChildren(el("p", { class: "soft", role: "status" }, "Following the answer…"));
    this.#dialog.showModal();
    try {
      this.#show(await call(`/v1/audit/answers/${encodeURIComponent(id)}`));
    } catch (error) {
      const problem = el("p", { class: "problem", role: "alert" });
      showProblem(problem, error);
      this.#body.replaceChildren(problem);
    }
  }

  #show(answer) {
    const contents = el("div", { role: "status" });
    const reveal = el("button", { type: "button", class: "primary" }, "Show question and answer");
    reveal.addEventListener("click", () => this.#reveal(answer.id, contents, reveal));
    this.#body.replaceChildren(
      el("dl", { class: "facts" }, ...facts(answer)),
      el("div", { class: "actions start" }, reveal, el("span", { class: "soft small" }, "Looking is recorded under your name.")),
      contents,
      el("h3", {}, "Passages that were found"),
      this.#passages(answer.passages),
      el("h3", {}, "What happened"),
      el("ol", { class: "steps" }, ...steps(answer).map(stepItem)),
      ...(answer.later.length ? [el("h3", {}, "Afterwards"), el("ol", { class: "steps" }, ...answer.later.map(stepItem))] : []),
      el("div", { class: "actions start" }, this.#leaving("Show its events", () => this.#acts.only({ correlation: answer.id }))),
    );
  }

  async #reveal(id, place, button) {
    button.disabled = true;
    place.replaceChildren(el("p", { class: "soft" }, "Opening…"));
    try {
      const { question, retrieval, segments, text } = await call(`/v1/audit/answers/${encodeURIComponent(id)}?contents=true`);
      const whole = text ?? (segments.length ? gone(segments.find((segment) => segment.state !== "readable")) : "No text was released.");
      place.replaceChildren(
        ...part("Question", question.text ?? gone(question)),
        ...part("Quotes that were shown", retrieval?.quotes?.map(({ n, quote }) => `[${n}] ${quote}`).join("\n\n")),
        ...part("Answer", whole),
      );
    } catch (error) {
      button.disabled = false;
      showRefusal(place, error, this.#acts.asked);
    }
  }

  #passages(passages) {
    if (!passages.length) return el("p", { class: "soft" }, "None.");
    const rows = passages.map(({ rank, doc, ver, chunk, cited }) =>
      el(
        "tr",
        {},
        el("td", { class: "number" }, count(rank)),
        el("td", {}, el("code", {}, chunk)),
        el("td", {}, el("code", {}, doc), el("br"), el("span", { class: "soft small" }, "version ", el("code", {}, ver))),
        el("td", {}, CITED[cited]),
        el("td", {}, this.#leaving("Its reach", () => this.#acts.reach(doc, ver), `Reach of the document of passage ${rank}`)),
      ),
    );
    const heads = ["Rank", "Passage", "Document", "In the answer"].map((words) => el("th", { scope: "col" }, words));
    return el(
      "div",
      { class: "table-box", tabindex: 0, role: "region", "aria-label": "Passages that were found" },
      el("table", {}, el("thead", {}, el("tr", {}, ...heads, el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "Reach")))), el("tbody", {}, ...rows)),
    );
  }

  #leaving(words, act, label = words) {
    const leave = () => {
      this.#dialog.close();
      act();
    };
    return el("button", { type: "button", class: "small", "aria-label": label, on: { click: leave } }, words);
  }
}

function facts({ who, asked_at: asked, ended_at: ended, outcome, scope, retrieval, model_calls: calls, id }) {
  const call = calls.at(-1);
  return [
    ["Asked by", [el("span", { dir: "auto" }, who.label), " ", el("code", {}, who.sub)]],
    ["When", [ended ? `${whenExactly(asked)}, took ${((ended - asked) / 1000).toFixed(1)} s` : `${whenExactly(asked)}, without an end`]],
    ["Outcome", [outcomeInWords(outcome)]],
    ["Rights at that moment", scope && [el("code", {}, scope)]],
    ["Decided by", retrieval?.authz && [el("code", {}, retrieval.authz.policy)]],
    ["Model", [call ? el("code", {}, call.model) : "none: quotes only"]],
    ["Prompt template", call?.prompt && [el("code", {}, call.prompt)]],
    ["Parameters", call && [Object.entries(call.params).map(([name, value]) => `${name} ${value}`).join(", ")]],
    ["Tokens", call?.tokens && [`${count(call.tokens.in)} read, ${count(call.tokens.out)} written`]],
    ["Answer", [el("code", {}, id)]],
  ].flatMap(([name, value]) => (value ? [el("dt", {}, name), el("dd", {}, ...value)] : []));
}

function steps({ question, retrieval, model_calls: calls, segments, others, finished }) {
  const told = [question, retrieval, ...calls.flatMap(({ began, ended }) => [began, ended]), ...others, finished].filter(Boolean);
  if (segments.length) told.push({ ...segments[0], words: `Released in ${plural(segments.length, "part")}` });
  return told.sort((one, other) => one.index - other.index);
}

function stepItem({ index, type, time, outcome, words, who }) {
  const more = [who, outcome ? outcomeInWords(outcome) : null, `no. ${count(index)}`, whenExactly(time)].filter(Boolean);
  return el("li", {}, words ?? eventName(type), el("span", { class: "soft small", dir: "auto" }, more.join(" · ")));
}

function part(name, text) {
  return text ? [el("h3", {}, name), el("p", { class: "revealed", dir: "auto" }, text)] : [];
}

function gone(content) {
  return content?.state === "erased" ? ERASED : "It cannot be opened: check the record.";
}
