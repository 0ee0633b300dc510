// What the server's terms, numbers and times are called on the page.

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const WHEN_EXACTLY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const COUNT = new Intl.NumberFormat();

// OpenAI-shaped objects carry seconds, our own milliseconds; no date we show lies before 1973 in either.
function dateOf(time) {
  return new Date(time < 1e11 ? time * 1000 : time);
}

export const when = (time) => WHEN.format(dateOf(time));
export const whenExactly = (time) => WHEN_EXACTLY.format(dateOf(time));
export const day = (time) => DAY.format(dateOf(time));
export const count = (number) => COUNT.format(number);

/** “1 passage”, “2 passages”. */
export function plural(number, one, many = `${one}s`) {
  return `${COUNT.format(number)} ${number === 1 ? one : many}`;
}

/** Bytes as people write them. */
export function size(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log(bytes) / Math.log(1000)));
  const value = bytes / 1000 ** step;
  return `${value.toLocaleString(undefined, { maximumFractionDigits: value < 10 && step > 0 ? 1 : 0 })} ${units[step]}`;
}

const STAGES = {
  queued: "Waiting its turn",
  parse: "Reading the file",
  chunk: "Finding its passages",
  embed: "Learning its meaning",
  index: "Adding it to the index",
  done: "Ready",
};

/** What a job is doing, e.g. “Learning its meaning · 32 of 120 passages · about 2 minutes left”. */
export function jobStage(job) {
  if (job.state === "queued") return STAGES.queued;
  const done = job.total ? `${count(job.done)} of ${count(job.total)}${job.unit ? ` ${job.unit}` : ""}` : null;
  const again = job.attempt > 1 ? `try ${job.attempt}` : null;
  return [STAGES[job.stage] ?? job.stage, done, timeLeft(job.remaining_s), again].filter(Boolean).join(" · ");
}

/** “about 2 minutes left”, as exact as such guesses are; null for null, which is unknown. */
export function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return null;
  if (seconds < 10) return "a few seconds left";
  if (seconds < 55) return `about ${5 * Math.round(seconds / 5)} seconds left`;
  if (seconds < 5400) return `about ${plural(Math.max(1, Math.round(seconds / 60)), "minute")} left`;
  return `about ${plural(Math.round(seconds / 3600), "hour")} left`;
}

const EVENTS = {
  "server.start": "Server started",
  "server.stop": "Server stopped",
  "settings.changed": "Started with other settings",
  "ledger.recovered": "Record recovered after a start",
  "ledger.alive": "Quiet hour",
  "signin.ok": "Signed in",
  "signin.failed": "Sign-in refused",
  "signin.ended": "Signed out",
  "account.created": "Account created",
  "account.changed": "Account changed",
  "account.disabled": "Account closed",
  "password.changed": "Password changed",
  "invitation.created": "Invitation created",
  "key.created": "API key created",
  "key.revoked": "API key revoked",
  "group.created": "Group created",
  "group.changed": "Group changed",
  "group.deleted": "Group removed",
  "file.uploaded": "Document uploaded",
  "file.parsed": "Document read",
  "file.shared": "Document shared",
  "file.unshared": "Sharing ended",
  "file.deleted": "Document deleted",
  "file.restricted": "Document’s readers narrowed",
  "file.moved": "Document moved to or from a collection",
  "upload.begun": "Upload in parts begun",
  "upload.continued": "Part of a document arrived",
  "upload.dropped": "Unfinished upload given up",
  "batch.created": "Batch of documents announced",
  "job.cancelled": "Processing stopped",
  "job.retried": "Processing started again",
  "collection.created": "Collection created",
  "collection.changed": "Collection renamed or labelled",
  "collection.shared": "Collection shared or denied",
  "collection.unshared": "Collection’s sharing ended",
  "collection.deleted": "Collection deleted",
  "conversation.kept": "Conversation kept",
  "conversation.opened": "Kept conversation opened",
  "conversation.shared": "Conversation shared",
  "conversation.unshared": "Conversation’s sharing ended",
  "conversation.deleted": "Conversation deleted",
  "access.explained": "Access explained",
  "access.imported": "Access lists imported",
  "access.tested": "Leak test",
  "directory.changed": "Directory changed people or groups",
  "choice.changed": "Setting changed",
  "source.opened": "Source opened",
  "answer.asked": "Question asked",
  "answer.retrieved": "Passages chosen",
  "answer.generated": "Model called",
  "answer.segment": "Part of an answer released",
  "answer.finished": "Answer ended",
  "search.performed": "Searched",
  "accounts.read": "Accounts looked at",
  "groups.read": "Groups looked at",
  "directory.read": "Directory looked around",
  "files.read": "Files looked at",
  "jobs.read": "Processing looked at",
  "collections.read": "Collections looked at",
  "conversations.read": "Conversations listed",
  "choices.read": "Setting looked at",
  "suggestions.read": "Suggestions shown",
  "receipt.read": "Receipt taken",
  "access.read": "Access looked at",
  "tools.read": "Message from a program",
  "signin.begun": "Sign-in at a directory begun",
  "job.swept": "Abandoned work queued again",
  "file.unplaced": "Document left a watched folder",
  "sync.requested": "Look at a watched folder asked for",
  "sync.halted": "Watched folder kept as it was",
  "audit.forwarded": "Forwarding of the record",
  "content.requested": "Asked to read contents",
  "content.approved": "Reading contents approved",
  "content.pruned": "Old contents destroyed",
  "audit.pruned": "Old records removed",
  "hold.placed": "Legal hold placed",
  "hold.lifted": "Legal hold lifted",
  "keys.saved": "Keys backed up",
  "keys.restored": "Keys restored",
  "keys.expired": "Key backup expired",
  "checkpoint.cosigned": "Witness",
  "feedback.given": "Answer judged",
  "audit.read": "Record read",
  "audit.exported": "Record copied",
  "audit.verified": "Record verified",
  "subject.erased": "Person’s content erased",
  "refused": "Request refused",
  "network.blocked": "Outside connection stopped",
};

/** A ledger event's type in words; the type itself when it is a newer one. */
export const eventName = (type) => EVENTS[type] ?? type;

/** Every type of event that has words. */
export const eventTypes = () => Object.keys(EVENTS);
