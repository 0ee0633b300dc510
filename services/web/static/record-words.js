// What the record's terms are called on the page.

import { eventName, eventTypes } from "./words.js";

const OUTCOMES = {
  ok: "Done",
  answered: "Answered",
  partial: "Partly answered",
  abstained: "Nothing found",
  blocked: "Stopped",
  interrupted: "Reader left",
  failed: "Failed",
  unknown: "Unknown: the server stopped",
  not_authenticated: "Not signed in",
  not_permitted: "Not permitted",
  not_found: "Not found, or not theirs",
  invalid_input: "Could not be understood",
  conflict: "Not possible just then",
  throttled: "Too many attempts",
  too_large: "Too large",
  too_slow: "Too slow",
};

const THINGS = {
  answer: "Answer",
  answer_contents: "Contents of the answer",
  account: "Account",
  collection: "Collection",
  content: "Content of the entry",
  content_permission: "Permission",
  conversation: "Conversation",
  file: "Document",
  group: "Group",
  job: "Processing",
  key: "API key",
  operation: "Operation",
  page: "Page with the passage",
  reach: "Reach of the document",
  record: "Part of the record",
  search: "Search",
  source: "Passage",
};

const GROUPS = {
  answer: "Answers",
  signin: "Sign-ins",
  file: "Documents",
  collection: "Collections",
  conversation: "Conversations",
  account: "Accounts",
  key: "API keys",
  group: "Groups",
  access: "Access checks",
  audit: "This record",
  content: "Reading contents",
  server: "Server",
};

/** How something ended, in words; what has none is shown as it stands. */
export const outcomeInWords = (outcome) => OUTCOMES[outcome] ?? outcome ?? "—";

/** What kind of thing an entry is about. */
export const thingInWords = (type) => THINGS[type] ?? type;

/** Events of somebody who looked at a list, a receipt or this record: most of the log, and seldom looked for. */
export const looks = () => eventTypes().filter((type) => type.endsWith(".read"));

/** What to choose from in the filter: `[label, [[value, label], …]]`, first whole groups, then single events. */
export function eventChoices() {
  const groups = Object.entries(GROUPS).map(([prefix, label]) => [`${prefix}.`, label]);
  const single = eventTypes().map((type) => [type, eventName(type)]).sort((one, other) => one[1].localeCompare(other[1]));
  return [["All of a kind", groups], ["One event", single]];
}
