// Who may read something, in the few words of a facts line.

import { plural } from "./words.js";

/** “Only you”, “Shared with Ben and 2 others”; null when it is somebody else's and so not ours to know. */
export function sharedWords(shared, mine) {
  if (shared.length === 0) return mine ? "Only you" : null;
  return `Shared with ${firstOf(shared)}`;
}

/** “Never Ben and 2 others”; null when nobody is shut out. */
export function deniedWords(denied) {
  return denied.length === 0 ? null : `Never ${firstOf(denied)}`;
}

/** “Clearance 3” and “Compartments A, B”, as far as there are any. */
export function labelWords(clearance, compartments) {
  const names = compartments ?? [];
  return [
    clearance ? `Clearance ${clearance}` : null,
    names.length ? `${names.length === 1 ? "Compartment" : "Compartments"} ${names.join(", ")}` : null,
  ];
}

function firstOf([first, ...others]) {
  return `${first.label}${others.length ? ` and ${plural(others.length, "other")}` : ""}`;
}
