// What ingestion found out about a document, in words.

import { count, plural } from "./words.js";

const HIDDEN = {
  colour: "In the colour of what lies behind it",
  size: "Too small to be read",
  off_page: "Beyond the edge of the page",
  covered: "Covered by something",
  comment: "A comment or note",
  not_shown: "Marked as not to be shown",
};

/** Why a reader of the original does not see a text. */
export const hiddenReason = (code) => HIDDEN[code] ?? "Not visible in the original";

const UNREAD = {
  damaged: "damaged",
  empty: "empty",
  encrypted: "protected with a password",
  expands_too_much: "becomes far too large when unpacked",
  mislabelled: "not what its name says",
  needs_converter: "an old Word or PowerPoint file: upload it on its own",
  no_text: "contains no text",
  not_a_file: "a link, which is never followed",
  not_confined: "this server cannot convert it safely",
  nothing_readable: "nothing in it can be read",
  too_complex: "too large or too complex",
  too_deep: "packed too deeply",
  too_large: "too large",
  too_many_pages: "too many pages",
  too_many_pixels: "a picture larger than any page",
  too_many_scanned_pages: "too many scanned pages: upload it on its own",
  took_too_long: "took too long",
  unsupported_type: "a kind of file that is not read",
};

/** Why a file within a file could not be read. */
export const unreadReason = (code) => UNREAD[code] ?? "could not be read";

/** What came of an upload under `name`, as a sentence; null when it is simply a new document. */
export function arrivalWords(what, name, file) {
  if (what === "unchanged") return "This very file was here already, so there was nothing to do.";
  if (what === "version") return `Version ${count(file.x_version)}. Until it is read, the earlier one answers.`;
  if (what === "duplicate") return `“${name}” has the same content, so this one copy stands for both names.`;
  return null;
}

/** What a version that has been read says. */
export const REPLACED = "This version answers now, instead of the earlier one.";

/** Where a text stands in its document; null when nothing better than “somewhere” is known. */
export function placeWords({ within = [], message, page, slide, sheet, cells, heading_path: path = [], first_line: first, last_line: last }) {
  const at = [
    ...within,
    message ? `message ${count(message)}` : null,
    page ? `page ${count(page)}` : null,
    slide ? `slide ${count(slide)}` : null,
    sheet ? `${sheet}${cells ? `!${cells}` : ""}` : null,
    ...path,
    first ? linesWords(first, last ?? first) : null,
  ];
  return at.filter(Boolean).join(", ") || null;
}

function linesWords(first, last) {
  return first === last ? `line ${count(first)}` : `lines ${count(first)}–${count(last)}`;
}

/** How many texts are kept apart, and how many files within could not be read; null for none. */
export const hiddenWords = ({ x_hidden_texts: texts }) => (texts ? plural(texts, "hidden text") : null);
export const unreadWords = ({ x_unread: unread }) => (unread?.length ? `${plural(unread.length, "file")} within not read` : null);

/** “a folder” or “a bucket” that somebody's documents come from, or an upload. */
export const sourceWords = (source) => (source === "upload" ? "uploaded" : `from “${source}”`);

const KINDS = [
  [/pdf$/, "PDF"],
  [/wordprocessing|msword|ms-word/, "Word document"],
  [/presentationml|ms-powerpoint/, "PowerPoint presentation"],
  [/spreadsheetml|ms-excel/, "Excel workbook"],
  [/opendocument\.text/, "OpenDocument text"],
  [/opendocument\.presentation/, "OpenDocument presentation"],
  [/opendocument\.spreadsheet/, "OpenDocument spreadsheet"],
  [/rtf/, "Rich text"],
  [/html/, "Web page"],
  [/markdown/, "Markdown"],
  [/csv|tab-separated/, "Table"],
  [/epub/, "E-book"],
  [/rfc822|outlook|mbox/, "E-mail"],
  [/^image\//, "Picture"],
  [/zip|tar|gzip|bzip|xz/, "Archive"],
  [/json|yaml|xml/, "Structured data"],
  [/^text\//, "Text"],
];

/** What kind of file it is; its media type when there is no word for it. */
export const kindWords = (type) => KINDS.find(([pattern]) => pattern.test(type))?.[1] ?? type;
