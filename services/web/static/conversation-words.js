// What conversations are called, and where they are found.

const LONGEST = 80;

/** The page at which a conversation can be opened. */
export const addressOf = (id) => `/?conversation=${encodeURIComponent(id)}`;

/** A conversation's title; before its first answer ended it has none. */
export const titleOf = (conversation) => conversation.metadata.title || "New conversation";

/** What to call a conversation until the server has named it after its first question. */
export function titleFrom(question) {
  const words = question.replace(/\s+/g, " ");
  return words.length > LONGEST ? `${words.slice(0, LONGEST).trimEnd()} …` : words;
}

/** Say to its reader who else may look at a conversation. */
export function sharingWords({ x_owner: owner, x_shared_with: shared }) {
  if (!owner.me) return `Shared with you by ${owner.label}`;
  return shared.length ? `Kept · shared with ${shared.map(({ label }) => label).join(", ")}` : "Kept · for you alone";
}
