// For curators and administrators: the watched folders and buckets, when they were looked at, and what is wrong.

import { call } from "./api.js";
import { el, showProblem } from "./elements.js";
import { count, plural, when } from "./words.js";

const PAUSE_MS = 3000;
const UNDER_WAY = new Set(["asked", "looking"]);

const STATES = {
  asked: "Will be looked at shortly",
  looking: "Being looked at now",
  halted: "Kept as it was",
  idle: null,
};

export class WatchedSources {
  #section;
  #list;
  #manages;
  #entries = new Map();
  #timer = null;

  /** `manages` says whether the person is an administrator, who may have a source looked at now. */
  constructor(section, manages) {
    this.#section = section;
    this.#list = section.querySelector("ul");
    this.#manages = manages;
  }

  /** Read how the sources stand; again after a while, as long as somebody waits for a look. */
  async load() {
    clearTimeout(this.#timer);
    const problem = this.#section.querySelector(":scope > .problem");
    showProblem(problem, null);
    try {
      const { data } = await call("/v1/sources");
      data.forEach((source) => this.#show(source));
      this.#section.hidden = data.length === 0;
    } catch (error) {
      showProblem(problem, error);
      this.#section.hidden = false;
    }
  }

  #show(source) {
    let entry = this.#entries.get(source.name);
    if (!entry) {
      entry = this.#entry(source.name);
      this.#entries.set(source.name, entry);
      this.#list.append(entry.item);
    }
    entry.facts.replaceChildren(...factsOf(source).map((fact) => el("span", {}, fact)));
    entry.state.replaceChildren(...problemsOf(source));
    // Not `disabled`, which would take the focus away from it.
    entry.button?.setAttribute("aria-disabled", String(UNDER_WAY.has(source.state)));
    if (entry.waits && !UNDER_WAY.has(source.state)) this.#answered(entry, source);
    if (entry.waits) this.#timer = setTimeout(() => this.load(), PAUSE_MS);
  }

  #answered(entry, source) {
    entry.waits = false;
    entry.said.textContent = source.problem ? "" : "It was looked at.";
  }

  #entry(name) {
    const entry = {
      facts: el("p", { class: "row-facts" }),
      state: el("div", { class: "row-state" }),
      said: el("p", { class: "visually-hidden", role: "status" }),
      button: null,
      waits: false,
    };
    if (this.#manages) {
      const look = { type: "button", class: "quiet small", "aria-label": `Look now ${name}`, on: { click: () => this.#look(name, entry) } };
      entry.button = el("button", look, "Look now");
    }
    const title = el("h3", { class: "row-title" }, name);
    const actions = el("div", { class: "row-actions" }, entry.button);
    entry.item = el("li", { class: "row" }, title, actions, entry.facts, entry.state, entry.said);
    return entry;
  }

  async #look(name, entry) {
    if (entry.button.getAttribute("aria-disabled") === "true") return;
    try {
      entry.waits = true;
      this.#show(await call(`/v1/sources/${encodeURIComponent(name)}/sync`, { method: "POST" }));
    } catch (error) {
      entry.waits = false;
      const problem = el("p", { class: "problem", role: "alert" });
      showProblem(problem, error);
      entry.state.replaceChildren(problem);
    }
  }
}

function factsOf(source) {
  const facts = [
    source.kind === "bucket" ? "Bucket" : "Folder",
    plural(source.files, "file"),
    source.looked_at ? `Last look ${when(source.looked_at)}` : "Not looked at yet",
    source.missing ? `${count(source.missing)} missing` : null,
    STATES[source.state] ?? null,
  ];
  return facts.filter(Boolean);
}

function problemsOf({ problem, left_aside: aside }) {
  const parts = [];
  if (problem) parts.push(el("p", { class: "problem" }, problem.message, el("span", { class: "hint" }, problem.hint)));
  if (aside.length) {
    const entries = aside.map(({ message, hint, count: files }) => el("li", {}, `${plural(files, "file")}: ${message}`, el("span", { class: "soft" }, ` ${hint}`)));
    parts.push(el("p", {}, "Left aside:"), el("ul", { class: "plain" }, ...entries));
  }
  return parts;
}
