// The chat: one conversation at a time, in this page's memory only unless the person wants it kept.

import { ApiError, call, send } from "../api.js";
import { ConversationHead } from "../conversation-head.js";
import { ConversationList } from "../conversation-list.js";
import { ChatMemory } from "../conversation-memory.js";
import { KeptTurns } from "../conversation-turns.js";
import { addressOf, titleFrom } from "../conversation-words.js";
import { el, showProblem } from "../elements.js";
import { ReceiptDialog } from "../receipt.js";
import { SourcePanel } from "../source-panel.js";
import { eventsOf } from "../sse.js";
import { Suggestions } from "../suggestions.js";
import { Turn } from "../turn.js";
import { plural } from "../words.js";

const page = Object.fromEntries(
  [
    "turns", "composer", "question", "send", "stop", "quotes-only", "keep", "keep-field", "keep-hint", "new-conversation",
    "announcer", "welcome", "welcome-line", "no-documents", "conversation-problem", "opening", "looking-on", "looking-on-words",
  ].map((id) => [id, document.getElementById(id)]),
);
const panel = new SourcePanel(document.getElementById("source-panel"));
const receipt = new ReceiptDialog(document.getElementById("receipt"));
const memory = new ChatMemory(page.composer.dataset.person);
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
// Below this width a source and the list of conversations would leave too little for the chat between them.
const roomForBoth = window.matchMedia("(min-width: 80rem)");

/** What was said in a conversation that is not kept. */
let said = [];
/** The server's conversation object while a kept one is open. */
let kept = null;
/** The id in the address, of what is shown or on its way; null for a conversation that is not kept. */
let shown = wanted();
let running = null;
let opening = null;

const actions = {
  openSource: (citation, button) => {
    if (!roomForBoth.matches) list.giveWay();
    panel.open(citation, button);
  },
  openReceipt: (answer) => receipt.open(answer),
  announce: (words) => { page.announcer.textContent = words; },
  retry: (turn) => {
    if (running) return;
    turn.element.remove();
    ask(turn.question);
  },
};

const suggestions = new Suggestions(document.getElementById("suggestions"), page.question, (title) => {
  page.question.value = `What does “${title}” say about `;
  fit();
  page.question.focus();
  page.question.setSelectionRange(page.question.value.length, page.question.value.length);
  suggestions.refresh();
});

const head = new ConversationHead({
  changed: showKept,
  deleted: (conversation) => {
    list.remove(conversation.id);
    go(null);
    actions.announce("The conversation was deleted.");
  },
});

const list = new ConversationList(document.getElementById("conversations"), document.getElementById("conversations-toggle"), memory, {
  open: async (conversation) => {
    await go(conversation.id);
    if (kept?.id === conversation.id) head.focus();
  },
  opened: () => { if (!roomForBoth.matches) panel.close(); },
});

// --- the composer ---------------------------------------------------------------------------------

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = page.question.value.trim();
  if (!question || running || opening) return;
  page.question.value = "";
  fit();
  ask(question);
});

page.question.addEventListener("keydown", (event) => {
  // Enter also ends a composition, for example of Japanese; that must not send.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  page.composer.requestSubmit();
});
page.question.addEventListener("input", fit);
page.stop.addEventListener("click", () => {
  running?.abort();
  page.question.focus();
});

page["new-conversation"].addEventListener("click", () => {
  go(null);
  actions.announce("New conversation.");
});

page.keep.checked = memory.keeps;
page.keep.addEventListener("change", () => {
  memory.keeps = page.keep.checked;
  showKeepHint();
});

// What was said before cannot be kept afterwards: only what the server itself heard is in a conversation.
function showKeepHint() {
  page["keep-hint"].hidden = !page.keep.checked || said.length === 0;
}

// Browsers without `field-sizing` get the same growth from here; through CSSOM, which the policy allows.
function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  page.question.style.height = "auto";
  page.question.style.height = `${page.question.scrollHeight}px`;
}

// --- one question ---------------------------------------------------------------------------------

async function ask(question) {
  const turn = new Turn(question, actions);
  const stopper = new AbortController();
  begin(turn, stopper);
  try {
    if (!kept && page.keep.checked) await startKeeping(turn, stopper.signal);
    await stream(turn, stopper.signal, () => complete(turn, stopper));
  } catch (error) {
    // Once the outcome is there, the rest of the stream does not matter any more.
    if (turn.finished) return;
    if (error.name === "AbortError") turn.stop();
    else turn.fail(error instanceof ApiError ? error : ApiError.unreachable());
    finish(turn, stopper);
  }
}

async function startKeeping(turn, signal) {
  const conversation = await call("/v1/conversations", { method: "POST", json: {}, signal });
  signal.throwIfAborted();
  if (said.length) turn.element.before(el("p", { class: "kept-from soft small" }, "Kept from here on"));
  said = [];
  shown = conversation.id;
  window.history.replaceState(null, "", addressOf(shown));
  showKept({ ...conversation, metadata: { title: titleFrom(turn.question) } });
}

function complete(turn, stopper) {
  // A conversation that was left meanwhile does not get the answer.
  if (running !== stopper) return;
  if (kept) renew(kept.id);
  else said.push({ role: "user", content: turn.question }, { role: "assistant", content: turn.content });
  finish(turn, stopper);
  showKeepHint();
}

// The server may have named it by now; until the next time the words that stand there will do.
async function renew(id) {
  const conversation = await call(`/v1/conversations/${encodeURIComponent(id)}`).catch(() => null);
  if (conversation?.metadata.title && kept?.id === id) showKept(conversation);
}

// When only the last lines of a finished answer lie behind the composer, bring them into view; a long
// answer stays where its reader is.
function showEnd(turn) {
  const end = turn.element.lastElementChild.getBoundingClientRect().bottom;
  const hidden = end - page.composer.getBoundingClientRect().top;
  if (hidden > 0 && hidden < window.innerHeight / 4) window.scrollBy({ top: hidden + 8, behavior: calm.matches ? "auto" : "smooth" });
}

function begin(turn, stopper) {
  running = stopper;
  page.welcome.hidden = true;
  showProblem(page["conversation-problem"], null);
  page["new-conversation"].hidden = false;
  page.send.hidden = true;
  page.stop.hidden = false;
  page.turns.append(turn.element);
  turn.element.scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
  actions.announce("Searching your documents…");
}

function finish(turn, stopper) {
  if (running !== stopper) return;
  endRun();
  showEnd(turn);
}

function endRun() {
  running = null;
  const stopHadFocus = document.activeElement === page.stop;
  page.send.hidden = false;
  page.stop.hidden = true;
  if (stopHadFocus) page.question.focus();
}

async function stream(turn, signal, whenFinished) {
  const response = await send("/v1/chat/completions", {
    method: "POST",
    signal,
    json: {
      model: page["quotes-only"].checked ? "strongroom-quote" : "strongroom",
      messages: [...said, { role: "user", content: turn.question }],
      stream: true,
      x_evidence: "field",
      ...(kept ? { x_conversation: kept.id } : {}),
    },
  });
  for await (const { data } of eventsOf(response)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw ApiError.from(chunk);
    turn.take(chunk);
    if (turn.finished) whenFinished();
  }
  // Without an outcome the answer is not complete, whatever it looks like.
  if (!turn.finished) throw new ApiError("The answer broke off.", { hint: "The server may have been restarted. Try again." });
}

// --- kept conversations ---------------------------------------------------------------------------

/** Go to a kept conversation, or to a new one for null, as following a link does. */
function go(id) {
  window.history.pushState(null, "", id ? addressOf(id) : "/");
  return show(id);
}

async function show(id) {
  shown = id;
  leave();
  if (id) await open(id);
  else {
    startAnew();
    page.question.focus();
  }
}

function leave() {
  opening?.abort();
  opening = null;
  page.opening.hidden = true;
  running?.abort();
  endRun();
  panel.close();
  said = [];
  page.turns.replaceChildren();
  showProblem(page["conversation-problem"], null);
  showKept(null);
}

function startAnew() {
  page.welcome.hidden = false;
  page["new-conversation"].hidden = true;
  suggestions.refresh();
}

async function open(id) {
  const attempt = new AbortController();
  opening = attempt;
  page.welcome.hidden = true;
  page.opening.hidden = false;
  try {
    const conversation = await call(`/v1/conversations/${encodeURIComponent(id)}`, { signal: attempt.signal });
    await new KeptTurns(page.turns, conversation, actions).show(attempt.signal);
    page["new-conversation"].hidden = false;
    showKept(conversation);
    if (page.turns.childElementCount > 1) page.turns.lastElementChild.scrollIntoView({ block: "start", behavior: "instant" });
  } catch (error) {
    if (error.name !== "AbortError") notOpened(error, id);
  }
  if (opening !== attempt) return;
  opening = null;
  page.opening.hidden = true;
}

function notOpened(error, id) {
  // The address of what is not there would be wrong for the question that comes next.
  shown = null;
  window.history.replaceState(null, "", "/");
  const gone = error.status === 404;
  if (gone) list.remove(id);
  startAnew();
  // One that was never there, is not theirs or has been deleted: the same words.
  showProblem(page["conversation-problem"], gone ? { message: "There is no such conversation." } : error);
}

/** Show which kept conversation is open; null for one that is not kept. */
function showKept(conversation) {
  kept = conversation;
  head.show(conversation);
  list.mark(conversation?.id ?? null);
  if (conversation?.metadata.title) list.update(conversation);
  page["keep-field"].hidden = conversation !== null;
  showKeepHint();
  const mine = conversation?.x_owner.me ?? true;
  page.composer.hidden = !mine;
  page["looking-on"].hidden = mine;
  if (!mine) page["looking-on-words"].textContent = `Only ${conversation.x_owner.label} can continue this conversation.`;
}

// Links within the page, such as the one that skips to the content, come by here as well.
window.addEventListener("popstate", () => { if (wanted() !== shown) show(wanted()); });

function wanted() {
  return new URLSearchParams(location.search).get("conversation");
}

// --- the welcome ----------------------------------------------------------------------------------

async function welcome() {
  const { data, has_more: more } = await call("/v1/files");
  const ready = data.filter((file) => file.status === "processed").length;
  page["no-documents"].hidden = data.length > 0;
  const whatNow = document.getElementById("what-now");
  if (whatNow && (data.length === 0 || new URLSearchParams(location.search).has("welcome"))) {
    whatNow.hidden = false;
    page["no-documents"].hidden = true;
  }
  if (ready > 0) {
    const many = more ? `more than ${plural(ready, "document")}` : plural(ready, "document");
    page["welcome-line"].append(` Right now: ${many}.`);
  }
}

welcome().catch((error) => actions.announce(error.message));
if (shown) open(shown);
else suggestions.refresh();
