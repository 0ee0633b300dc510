// Upload, watch, share, delete.

import { call } from "../api.js";
import { closable, showProblem } from "../elements.js";
import { FileRow } from "../file-row.js";
import { isFinal, watchJob } from "../job-watch.js";
import { ShareDialog } from "../share-dialog.js";
import { Turnstile, upload } from "../upload.js";

const EVERYONE = "group:local:everyone";
const PAGE = 100;

const page = Object.fromEntries(
  ["files", "empty", "more", "filter", "filter-field", "none-match", "announcer", "choose", "chosen", "share-everyone"]
    .map((id) => [id, document.getElementById(id)]),
);
const problem = page.files.parentElement.querySelector(".problem");
const deletion = document.getElementById("delete");
const sharing = new ShareDialog(document.getElementById("share"), refresh);
const uploads = new Turnstile(2);

/** Every row, and those that the server knows by their file id. */
const rows = new Set();
const byId = new Map();
const stoppers = new Map();
let last = null;

const actions = {
  share: (row) => sharing.open(row),
  remove: confirmDeletion,
  cancel: attempt(async (row) => {
    if (stoppers.has(row)) stoppers.get(row).abort();
    else row.work(await call(`/v1/jobs/${encodeURIComponent(row.job.id)}/cancel`, { method: "POST" }));
  }),
  retry: attempt(async (row) => {
    const id = row.job?.id ?? row.file.x_job?.id;
    const job = await call(`/v1/jobs/${encodeURIComponent(id)}/retry`, { method: "POST" });
    row.work(job);
    watch(row, job.id);
  }),
  dismiss: (row) => drop(row),
};

// An action of a row shows its failure in that row.
function attempt(action) {
  return (row) => action(row).catch((error) => row.failed(error));
}

// --- the list -----------------------------------------------------------------------------------

async function load() {
  try {
    const { data, has_more: more } = await call(`/v1/files?limit=${PAGE}${last ? `&after=${encodeURIComponent(last)}` : ""}`);
    for (const file of data) known(file, (element) => page.files.append(element));
    last = data.at(-1)?.id ?? last;
    page.more.hidden = !more;
  } catch (error) {
    showProblem(problem, error);
  }
  page.files.setAttribute("aria-busy", "false");
  tidy();
}

/** Show `file` in its row, made by `place` when there is none yet, and follow its job. */
function known(file, place) {
  let row = byId.get(file.id);
  if (!row) {
    row = new FileRow(file.filename, actions);
    rows.add(row);
    place(row.element);
  }
  adopt(row, file);
  return row;
}

function adopt(row, file) {
  byId.set(file.id, row);
  row.update(file);
  if (file.x_job && !isFinal(file.x_job)) watch(row, file.x_job.id);
  else if (file.status === "error" && file.x_job) explain(row, file.x_job.id);
}

async function explain(row, jobId) {
  const job = await call(`/v1/jobs/${encodeURIComponent(jobId)}`).catch(() => null);
  if (job) row.work(job);
}

async function watch(row, jobId) {
  row.work({ id: jobId, state: "queued", stage: "queued", done: 0, total: null });
  await watchJob(jobId, (job) => row.work(job));
  if (row.job.state === "succeeded") {
    await refresh(row);
    say(`${row.name} is ready.`);
    row.element.classList.add("fresh");
  } else {
    say(`${row.name} could not be read.`);
  }
}

async function refresh(row) {
  const file = await call(`/v1/files/${encodeURIComponent(row.file.id)}`).catch(() => null);
  if (file) row.update(file);
}

function drop(row) {
  rows.delete(row);
  if (row.file) byId.delete(row.file.id);
  row.element.remove();
  tidy();
}

function tidy() {
  const wanted = page.filter.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    row.element.hidden = !row.searchable.includes(wanted);
    shown += row.element.hidden ? 0 : 1;
  }
  page.empty.hidden = rows.size > 0;
  page["filter-field"].hidden = rows.size < 6;
  page["none-match"].hidden = rows.size === 0 || shown > 0;
}

function say(words) {
  page.announcer.textContent = words;
}

page.more.addEventListener("click", load);
page.filter.addEventListener("input", tidy);

// --- uploading ------------------------------------------------------------------------------------

function take(files) {
  const share = page["share-everyone"].checked ? [EVERYONE] : [];
  for (const file of [...files].reverse()) start(file, share);
  tidy();
  if (files.length) say(files.length === 1 ? `Sending ${files[0].name}.` : `Sending ${files.length} files.`);
}

async function start(file, share) {
  const row = new FileRow(file.name, actions);
  const stopper = new AbortController();
  stoppers.set(row, stopper);
  rows.add(row);
  page.files.prepend(row.element);
  row.waiting();
  try {
    const progress = (sent, total) => row.sending(sent, total);
    const made = await uploads.pass(() => {
      stopper.signal.throwIfAborted();
      return upload(file, { share, signal: stopper.signal, progress });
    });
    arrived(row, made);
  } catch (error) {
    if (error.name === "AbortError") drop(row);
    else row.failed(error);
  } finally {
    stoppers.delete(row);
  }
}

// A new version, or the same content again, already has a row; the newer one takes its place.
function arrived(row, file) {
  stoppers.delete(row);
  const before = byId.get(file.id);
  if (before && before !== row) drop(before);
  adopt(row, file);
}

page.choose.addEventListener("click", () => page.chosen.click());
page.chosen.addEventListener("change", () => {
  take(page.chosen.files);
  page.chosen.value = "";
});

// The whole page takes files, so that a near miss does not make the browser leave for the file.
let inside = 0;
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  inside += 1;
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!carriesFiles(event)) return;
  inside -= 1;
  if (inside <= 0) document.body.classList.remove("dropping");
});
document.addEventListener("dragover", (event) => {
  if (carriesFiles(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files);
});

// --- deleting -------------------------------------------------------------------------------------

let condemned = null;

function confirmDeletion(row) {
  condemned = row;
  document.getElementById("delete-name").textContent = row.name;
  showProblem(deletion.querySelector(".problem"), null);
  deletion.showModal();
}

document.getElementById("delete-confirm").addEventListener("click", async () => {
  const row = condemned;
  const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
  try {
    await call(`/v1/files/${encodeURIComponent(row.file.id)}`, { method: "DELETE" });
  } catch (error) {
    showProblem(deletion.querySelector(".problem"), error);
    return;
  }
  deletion.close();
  drop(row);
  say(`${row.name} was deleted.`);
  (next?.querySelector("a, button") ?? page.choose).focus();
});

closable(deletion);
load();
