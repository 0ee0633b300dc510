// One question and what comes back: evidence first, then sentences as they are released, then the outcome.

import { AnswerText, plainText } from "./answer-text.js";
import { copyButton, el } from "./elements.js";
import { feedback } from "./feedback.js";
import { plural, when } from "./words.js";

export class Turn {
  /** What the model said, or the quotes where it said nothing; goes into the conversation's history. */
  content = "";
  /** Whether the outcome has arrived. */
  finished = false;

  #question;
  #citations = new Map();
  #found = 0;
  #dropped = 0;
  #answerId = null;
  #started = performance.now();
  #timer;
  #actions;
  #text;
  #parts;

  /**
   * `actions` has `openSource(citation, button)`, `openReceipt(answer, button)`, which may be missing where
   * the person has no right to a receipt, `retry(turn)` and `announce(words)`, which a screen reader speaks
   * when it is idle.
   */
  constructor(question, actions) {
    this.#question = question;
    this.#actions = actions;
    this.#parts = {
      status: el("span", { class: "words" }, "Searching your documents…"),
      seconds: el("span", { class: "seconds", "aria-hidden": "true" }),
      evidence: el("section", { class: "evidence", hidden: true }),
      answer: el("div", { class: "answer", "aria-live": "polite", "aria-relevant": "additions" }),
      outcome: el("div", { class: "outcome", hidden: true }),
    };
    this.#parts.statusLine = el("p", { class: "turn-status" }, el("span", { class: "pulse" }), this.#parts.status, this.#parts.seconds);
    this.element = el(
      "article",
      { class: "turn", "aria-busy": "true", "aria-label": `Question: ${question}` },
      el("h2", { class: "asked", dir: "auto" }, question),
      this.#parts.statusLine,
      this.#parts.evidence,
      this.#parts.answer,
      this.#parts.outcome,
    );
    this.#text = new AnswerText(this.#parts.answer, (n) => this.#citeButton(n));
    this.#timer = setInterval(() => this.#tick(), 1000);
  }

  /**
   * Show a question with the answer that was kept, without asking again. `said` is null when none was kept,
   * `{withheld}` with the words that stand in its place, or `{id, status, model, text, citations, at}`.
   */
  static kept(question, said, actions) {
    // What was said some time ago is read, not announced.
    const turn = new Turn(question, { ...actions, announce: () => {} });
    if (said === null) turn.#replace(el("p", { class: "soft" }, "No answer was kept."));
    else if (said.withheld) turn.#replace(el("p", { class: "withheld" }, said.withheld));
    else turn.#replay(said);
    return turn;
  }

  /** The question that was asked. */
  get question() {
    return this.#question;
  }

  /** Take the next chunk of the stream. */
  take(chunk) {
    // What lies near a question that nothing answers would look like an answer.
    if (chunk.x_citations && !EMPTY_HANDED.has(chunk.x_answer?.status)) this.#takeCitations(chunk.x_citations);
    if (chunk.x_progress) this.#takeProgress(chunk.x_progress);
    const delta = chunk.choices?.[0]?.delta?.content;
    // A notice is a remark of the server about the answer; the outcome repeats it in its place.
    if (delta && !chunk.x_notice) this.#takeText(delta);
    if (chunk.x_answer) this.#takeAnswer(chunk.x_answer);
  }

  /** End with an error: kindly, with a way to try again. */
  fail(error) {
    this.#end();
    this.#parts.outcome.hidden = false;
    this.#parts.outcome.replaceChildren(
      el("p", { class: "problem", role: "alert" }, error.message, error.hint ? el("span", { class: "hint" }, error.hint) : null),
      el("div", { class: "actions start" }, el("button", { type: "button", on: { click: () => this.#actions.retry(this) } }, "Try again")),
    );
  }

  /** End because the person asked to. */
  stop() {
    this.#end();
    this.#parts.outcome.hidden = false;
    this.#parts.outcome.replaceChildren(
      el("p", {}, "Stopped. What stands above was checked; the rest was not written."),
      el("div", { class: "outcome-actions" }, this.#receiptButton({ id: this.#answerId })),
    );
    this.#actions.announce("Stopped.");
  }

  #replace(words) {
    this.finished = true;
    this.#end();
    this.#parts.answer.replaceChildren(words);
  }

  #replay({ id, status, model, text, citations, at }) {
    if (!EMPTY_HANDED.has(status)) this.#takeCitations(citations);
    // Every sentence that is released bears a mark; a text without any is the server's remark.
    const written = MARK.test(text);
    if (written) this.#takeText(text);
    const quoted = !written || model === QUOTES;
    this.#finish({ id, status, at, mode: quoted ? "quote" : "generated", message: written ? "" : text });
  }

  #takeCitations(citations) {
    const first = this.#citations.size === 0;
    for (const citation of citations) this.#citations.set(citation.n, citation);
    this.#found = this.#citations.size;
    if (first && this.#found > 0) this.#showEvidence();
  }

  #showEvidence() {
    const { evidence } = this.#parts;
    const citations = [...this.#citations.values()];
    const nearby = citations.filter((citation) => citation.shown === false);
    evidence.replaceChildren(
      el("h3", {}, "From your documents"),
      this.#cards(citations.filter((citation) => citation.shown !== false)),
    );
    if (nearby.length > 0) {
      const summary = el("summary", {}, `${plural(nearby.length, "more passage")} nearby`);
      evidence.append(el("details", { class: "nearby" }, summary, this.#cards(nearby)));
    }
    evidence.hidden = false;
  }

  #cards(citations) {
    return el("ol", {}, ...citations.map((citation) => el("li", {}, this.#card(citation))));
  }

  #card(citation) {
    const { n, quote, file, place } = citation;
    return el(
      "button",
      {
        type: "button",
        class: "quote-card",
        "aria-expanded": "false",
        "aria-haspopup": "dialog",
        on: { click: (event) => this.#actions.openSource(this.#citations.get(n), event.currentTarget) },
      },
      el("span", { class: "quote", dir: "auto" }, `“${quote}”`),
      el(
        "span",
        { class: "place" },
        el("span", { class: "number-tag" }, el("span", { class: "visually-hidden" }, "Source "), String(n)),
        el("span", { class: "where", dir: "auto" }, el("span", { class: "file" }, file.name), ` · ${place}`),
      ),
    );
  }

  #citeButton(n) {
    const citation = this.#citations.get(n);
    if (!citation) return null;
    return el(
      "button",
      {
        type: "button",
        class: "cite",
        "aria-label": `Source ${n}: ${citation.file.name}, ${citation.place}`,
        "aria-expanded": "false",
        "aria-haspopup": "dialog",
        on: { click: (event) => this.#actions.openSource(this.#citations.get(n), event.currentTarget) },
      },
      String(n),
    );
  }

  #takeProgress({ stage, dropped }) {
    this.#dropped = dropped ?? this.#dropped;
    this.#say(stage === "writing" ? WRITING : "the model is reading");
  }

  #takeText(text) {
    this.#say(WRITING);
    this.content += text;
    this.#text.append(text);
  }

  #takeAnswer(answer) {
    this.#answerId = answer.id ?? this.#answerId;
    if (answer.status === "searching") return;
    if (answer.status === "reading") this.#say("the model is reading");
    else if (answer.status === "quoting") this.#say("choosing what to quote");
    else this.#finish(answer);
  }

  // “Found 5 passages · the model is reading…”. Spoken only when the words change, not each second.
  #say(doing) {
    const found = this.#found ? `Found ${plural(this.#found, "passage")} · ` : "";
    const words = `${found}${doing}…`;
    if (this.#parts.status.textContent === words) return;
    this.#parts.status.textContent = words;
    this.#actions.announce(words);
  }

  #tick() {
    this.#parts.seconds.textContent = `${Math.round((performance.now() - this.#started) / 1000)} s`;
  }

  #end() {
    clearInterval(this.#timer);
    this.#text.finish();
    this.#parts.statusLine.remove();
    this.element.setAttribute("aria-busy", "false");
  }

  #finish(answer) {
    this.finished = true;
    this.#end();
    const quotesOnly = answer.mode === "quote" && this.content === "";
    const outcome = this.#outcomeWords(answer, quotesOnly);
    const note = this.#note(answer);
    if (EMPTY_HANDED.has(answer.status)) this.#showNothing(answer);
    else if (quotesOnly) this.element.classList.add("quotes");
    this.content ||= [...this.#citations.values()].map((citation) => citation.quote).join("\n") || answer.message;
    this.#parts.outcome.hidden = false;
    this.#parts.outcome.replaceChildren(
      el("p", {}, el("strong", { class: answer.status }, outcome), " ", note),
      el(
        "div",
        { class: "outcome-actions" },
        EMPTY_HANDED.has(answer.status) ? null : copyButton(this.#clipboardText(), "Copy answer", "quiet small"),
        this.#receiptButton(answer),
        this.#feedback(answer),
        answer.at ? el("span", { class: "said-at" }, when(answer.at)) : null,
      ),
    );
    this.#actions.announce(`${outcome} ${note}`);
  }

  #showNothing(answer) {
    this.#parts.evidence.remove();
    this.#parts.answer.replaceChildren(
      el(
        "div",
        { class: "nothing" },
        el("h3", {}, answer.status === "blocked" ? "This cannot be answered" : "Nothing in your documents answers this"),
        answer.message ? el("p", { dir: "auto" }, answer.message) : null,
        answer.looked_for ? el("p", {}, "Looked for: ", el("strong", { dir: "auto" }, answer.looked_for)) : null,
        el("p", { class: "soft" }, "Try other words, or ask the owner of a document to share it with you."),
      ),
    );
  }

  #outcomeWords(answer, quotesOnly) {
    if (quotesOnly && !UNSAID.has(answer.status)) return "Quotes only.";
    return OUTCOMES[answer.status] ?? OUTCOMES.partial;
  }

  #note(answer) {
    if (EMPTY_HANDED.has(answer.status)) return "";
    if (answer.status === INTERRUPTED) return "What stands above was checked; the rest was not written.";
    if (answer.mode === "quote") return answer.message || "Word for word from the documents.";
    const dropped = answer.dropped ?? this.#dropped;
    return dropped
      ? `Checked against the sources; ${plural(dropped, "sentence")} withheld because no passage supports ${dropped === 1 ? "it" : "them"}.`
      : "Every sentence was checked against its sources.";
  }

  #receiptButton(answer) {
    if (!answer.id || !this.#actions.openReceipt) return null;
    return el(
      "button",
      { type: "button", class: "quiet small", "aria-haspopup": "dialog", on: { click: (event) => this.#actions.openReceipt(answer, event.currentTarget) } },
      "Receipt",
    );
  }

  #feedback(answer) {
    // Like receipts, for whoever asked.
    if (!answer.id || !this.#actions.openReceipt) return null;
    return feedback(answer.id, this.#actions.announce);
  }

  #clipboardText() {
    const sources = [...this.#citations.values()].map((c) => `[${c.n}] ${c.file.name}, ${c.place}`);
    return [plainText(this.content), ...sources].join("\n");
  }
}

const WRITING = "the model is writing, each sentence is checked";
const QUOTES = "strongroom-quote";
const MARK = /\[\[\d+\]\]\(/;
const INTERRUPTED = "interrupted";
const EMPTY_HANDED = new Set(["abstained", "blocked"]);
const UNSAID = new Set([...EMPTY_HANDED, INTERRUPTED]);
const OUTCOMES = {
  answered: "Answered.",
  partial: "Partly answered.",
  abstained: "Nothing found.",
  blocked: "Not answered.",
  interrupted: "Broken off.",
};
