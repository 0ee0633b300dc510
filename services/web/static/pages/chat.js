// The chat: one conversation at a time, kept in this page's memory only.

import { ApiError, call, send } from "../api.js";
import { ReceiptDialog } from "../receipt.js";
import { SourcePanel } from "../source-panel.js";
import { eventsOf } from "../sse.js";
import { Turn } from "../turn.js";
import { plural } from "../words.js";

const page = Object.fromEntries(
  ["turns", "composer", "question", "send", "stop", "quotes-only", "new-conversation", "announcer", "welcome", "welcome-line", "no-documents"]
    .map((id) => [id, document.getElementById(id)]),
);
const panel = new SourcePanel(document.getElementById("source-panel"));
const receipt = new ReceiptDialog(document.getElementById("receipt"));
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

let history = [];
let running = null;

const actions = {
  openSource: (citation, button) => panel.open(citation, button),
  openReceipt: (answer) => receipt.open(answer),
  announce: (words) => { page.announcer.textContent = words; },
  retry: (turn) => {
    if (running) return;
    turn.element.remove();
    ask(turn.question);
  },
};

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = page.question.value.trim();
  if (!question || running) return;
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
  running?.abort();
  panel.close();
  history = [];
  page.turns.replaceChildren();
  page.welcome.hidden = false;
  page["new-conversation"].hidden = true;
  actions.announce("New conversation.");
  page.question.focus();
});

async function ask(question) {
  const turn = new Turn(question, actions);
  const stopper = new AbortController();
  begin(turn, stopper);
  try {
    await stream(turn, stopper.signal, () => complete(turn, stopper));
  } catch (error) {
    // Once the outcome is there, the rest of the stream does not matter any more.
    if (turn.finished) return;
    if (error.name === "AbortError") turn.stop();
    else turn.fail(error instanceof ApiError ? error : ApiError.unreachable());
    finish(turn, stopper);
  }
}

function complete(turn, stopper) {
  // A conversation that was left meanwhile does not get the answer.
  if (running !== stopper) return;
  history.push({ role: "user", content: turn.question }, { role: "assistant", content: turn.content });
  finish(turn, stopper);
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
  page["new-conversation"].hidden = false;
  page.send.hidden = true;
  page.stop.hidden = false;
  page.turns.append(turn.element);
  turn.element.scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
  actions.announce("Searching your documents…");
}

function finish(turn, stopper) {
  if (running !== stopper) return;
  running = null;
  const stopHadFocus = document.activeElement === page.stop;
  page.send.hidden = false;
  page.stop.hidden = true;
  if (stopHadFocus) page.question.focus();
  showEnd(turn);
}

async function stream(turn, signal, whenFinished) {
  const response = await send("/v1/chat/completions", {
    method: "POST",
    signal,
    json: {
      model: page["quotes-only"].checked ? "strongroom-quote" : "strongroom",
      messages: [...history, { role: "user", content: turn.question }],
      stream: true,
      x_evidence: "field",
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

// Browsers without `field-sizing` get the same growth from here; through CSSOM, which the policy allows.
function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  page.question.style.height = "auto";
  page.question.style.height = `${page.question.scrollHeight}px`;
}

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
