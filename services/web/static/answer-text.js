// Show released sentences safely: paragraphs, simple lists, bold words and our own citation marks
// `[[n]](url)`. Everything else is text, and no address in an answer becomes a link.

import { el } from "./elements.js";

const INLINE = /\[\[(\d+)\]\]\([^()\s]*\)|\*\*([^*\n]+)\*\*/g;
const BULLET = /^\s*[-*•]\s+/;
const NUMBERED = /^\s*\d+[.)]\s+/;

/** Writes an answer into `place` piece by piece; `citation(n)` makes the button of citation n, or null. */
export class AnswerText {
  #place;
  #citation;
  #block = null;
  #held = "";

  constructor(place, citation) {
    this.#place = place;
    this.#citation = citation;
  }

  /** Add the next piece. A mark that is cut in two waits for its other half. */
  append(piece) {
    const text = this.#held + piece;
    const whole = text.length - unfinishedMark(text);
    this.#held = text.slice(whole);
    this.#write(text.slice(0, whole));
  }

  /** Write what was still held back. */
  finish() {
    this.#write(this.#held);
    this.#held = "";
  }

  #write(text) {
    const [rest, ...lines] = text.split("\n");
    this.#inline(rest);
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line.trim() === "") this.#block = null;
    else if (BULLET.test(line)) this.#item("ul", line.replace(BULLET, ""));
    else if (NUMBERED.test(line)) this.#item("ol", line.replace(NUMBERED, ""));
    else this.#inline(` ${line}`);
  }

  #item(kind, text) {
    let list = this.#place.lastElementChild;
    if (list?.localName !== kind) {
      list = el(kind);
      this.#place.append(list);
    }
    this.#block = el("li", { dir: "auto" });
    list.append(this.#block);
    this.#inline(text);
  }

  #inline(text) {
    if (this.#block === null) {
      if (text.trim() === "") return;
      if (BULLET.test(text)) return this.#item("ul", text.replace(BULLET, ""));
      this.#block = el("p", { dir: "auto" });
      this.#place.append(this.#block);
      text = text.trimStart();
    }
    let end = 0;
    for (const match of text.matchAll(INLINE)) {
      this.#block.append(text.slice(end, match.index), this.#marked(match));
      end = match.index + match[0].length;
    }
    this.#block.append(text.slice(end));
  }

  #marked([, n, bold]) {
    return bold === undefined ? this.#citation(Number(n)) ?? "" : el("strong", {}, bold);
  }
}

/** Return how many characters at the end of `text` may be the start of a citation mark. */
function unfinishedMark(text) {
  const match = /\[(\[(\d*(\](\](\([^()\s]*)?)?)?)?)?$/.exec(text);
  return match ? match[0].length : 0;
}

/** The same answer as plain text with `[n]` marks, for the clipboard. */
export function plainText(text) {
  return text.replace(/\[\[(\d+)\]\]\([^()\s]*\)/g, "[$1]").replace(/[ \t]+$/gm, "").trim();
}
