// One entry, opened: its fields in words, all of it as it stands, and where to go from there.

import { el } from "./elements.js";
import { contentButton } from "./record-contents.js";
import { outcomeInWords, thingInWords } from "./record-words.js";
import { count } from "./words.js";

/**
 * Show `entry` in `cell`, once. `acts` are `only(wanted)` to look for something else, `answer(id)` to open an
 * answer, `reach(document, version)`, and `asked()` when a permission was asked for.
 */
export function fillDetail(cell, entry, acts) {
  if (cell.childElementCount) return;
  const revealed = el("div", { role: "status" });
  cell.append(
    el("dl", { class: "facts" }, ...facts(entry)),
    el("div", { class: "actions start" }, ...actions(entry, acts), entry.has_content ? contentButton(entry.id, revealed, acts.asked) : null),
    revealed,
    el("details", {}, el("summary", { class: "soft small" }, "All fields"), el("pre", { tabindex: 0, "aria-label": "The entry" }, JSON.stringify(entry, null, 2))),
  );
}

function facts(entry) {
  const { actor, res, authz, ai } = entry;
  return [
    ...fact("Who", actor && [el("span", { dir: "auto" }, actor.label), " ", el("code", {}, actor.sub), actor.auth === "none" ? "" : `, by ${actor.auth}`]),
    ...fact(thingInWords(res?.type), res && [el("code", {}, res.id), res.ver ? [", version ", el("code", {}, res.ver)] : []].flat()),
    ...fact("Decision", authz && [`${authz.decision} by `, el("code", {}, authz.policy)]),
    ...fact("Outcome", entry.outcome && [outcomeInWords(entry.outcome)]),
    ...fact("Model", ai && [el("code", {}, ai.model), ai.tokens ? `, ${count(ai.tokens.in)} tokens read, ${count(ai.tokens.out)} written` : ""]),
    ...fact("Passages", entry.ret?.length && [count(entry.ret.length)]),
    ...fact("Request", entry.corr && [el("code", {}, entry.corr)]),
    ...fact("Entry", [el("code", {}, entry.id)]),
  ];
}

function fact(name, value) {
  return value ? [el("dt", {}, name), el("dd", {}, ...value)] : [];
}

function actions(entry, acts) {
  const { actor, res } = entry;
  const isPerson = actor && !["system", "anonymous"].includes(actor.kind);
  const document = res?.type === "file" ? res : null;
  return [
    entry.type.startsWith("answer.") ? button("Follow this answer", () => acts.answer(entry.corr)) : null,
    entry.corr ? button("Show this request’s events", () => acts.only({ correlation: entry.corr })) : null,
    isPerson ? button("Only this person", () => acts.only({ who: actor.sub })) : null,
    document ? button("Where it reached", () => acts.reach(document.id, null)) : null,
  ];
}

function button(words, press) {
  return el("button", { type: "button", class: "small", on: { click: press } }, words);
}
