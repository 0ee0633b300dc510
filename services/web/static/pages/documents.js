// Upload, watch, share, sort into collections, look at the details, delete.

import { subjectOf, WholeCollection } from "../access-subjects.js";
import { call } from "../api.js";
import { BatchSummary } from "../batch-summary.js";
import { CollectionHead } from "../collection-head.js";
import { ALL, CollectionList, LOOSE } from "../collection-list.js";
import { CollectionNaming } from "../collection-naming.js";
import { CollectionPlacing } from "../collection-placing.js";
import { DeletionDialog } from "../deletion-dialog.js";
import { el, showProblem } from "../elements.js";
import { FileDetails } from "../file-details.js";
import { FileRow } from "../file-row.js";
import { HiddenTexts } from "../hidden-texts.js";
import { isFinal, watchJob } from "../job-watch.js";
import { QuarantineList } from "../quarantine-list.js";
import { ShareDialog } from "../share-dialog.js";
import { takeDropped, Turnstile, upload } from "../upload.js";
import { WatchedSources } from "../watched-sources.js";
import { plural } from "../words.js";

const EVERYONE = "group:local:everyone";
const PAGE = 100;
// The most that the server lists at once.
const MOST = 10_000;

const page = Object.fromEntries(
  [
    "files", "empty", "more", "filter", "filter-field", "none-here", "none-match", "announcer", "choose", "chosen",
    "share-everyone", "share-field", "drop-into", "list-title", "new-collection", "collections", "batches",
  ].map((id) => [id, document.getElementById(id)]),
);
const problem = page.files.parentElement.querySelector(".problem");
const uploads = new Turnstile(2);

/** Every row, and those that the server knows by their file id. */
const rows = new Set();
const byId = new Map();
const stoppers = new Map();
/** What was uploaded together, by its id, and the jobs that are followed with it. */
const batches = new Map();
const inBatch = new Set();
let last = null;
let rest = false;
let loading = null;

const collections = new CollectionList(document.getElementById("collections"), narrowed);
const sharing = new ShareDialog(document.getElementById("share"));
const naming = new CollectionNaming(document.getElementById("collection-name"), { named, gone: refreshCollections });
const placing = new CollectionPlacing(document.getElementById("place"), collections, {
  placed,
  changed: (row) => Promise.all([refresh(row), refreshCollections()]),
});
const removal = new DeletionDialog(
  document.getElementById("collection-delete"),
  (collection) => `/v1/vector_stores/${encodeURIComponent(collection.id)}`,
  removed,
);
const head = new CollectionHead(document.getElementById("collection-head"), {
  rename: (collection) => naming.open(collection),
  share: (collection) => sharing.open(new WholeCollection(collection), refreshCollections),
  remove: (collection) => removal.open(collection),
});

const deletion = new DeletionDialog(
  document.getElementById("delete"),
  (row) => `/v1/files/${encodeURIComponent(row.file.id)}`,
  forgotten,
);
const hidden = new HiddenTexts(document.getElementById("hidden-texts"), "curator" in page.collections.dataset);
const details = new FileDetails(document.getElementById("details"), hidden);
// Only those who may see them have these on their page.
const quarantine = onPage("quarantine", (section) => new QuarantineList(section, document.getElementById("discard"), {
  say,
  released: (job) => ofJob(job, (row) => watch(row, job.id)),
  discarded: (job) => ofJob(job, drop),
}));
const sources = onPage("sources", (section) => new WatchedSources(section, "manager" in section.dataset));

const actions = {
  details: lookAt,
  hidden: (row) => hidden.open(row.file),
  uncovers: (file) => hidden.mayOpen(file),
  download,
  share: (row) => sharing.open(subjectOf(row.file), () => refresh(row)),
  move: (row) => placing.open(row),
  remove: (row) => deletion.open(row),
  cancel: attempt(async (row) => {
    if (stoppers.has(row)) stoppers.get(row).abort();
    else row.work(await call(`/v1/jobs/${encodeURIComponent(row.job.id)}/cancel`, { method: "POST" }));
  }),
  retry: attempt(async (row) => {
    const before = row.job ?? row.file.x_job;
    const job = await call(`/v1/jobs/${encodeURIComponent(before?.id)}/retry`, { method: "POST" });
    row.work(job);
    if (before.state === "quarantined") quarantine?.load();
    if (batches.has(job.batch_id)) batches.get(job.batch_id).follow();
    else watch(row, job.id);
  }),
  dismiss: (row) => drop(row),
  governs: (collectionId) => collections.get(collectionId)?.x_owner.me ?? false,
};

// An action of a row shows its failure in that row, unless the row's file is not there any more.
function attempt(action) {
  return (row) => action(row).catch(async (error) => {
    if (error.status !== 404 || (await refresh(row))) row.failed(error);
  });
}

// --- the list -----------------------------------------------------------------------------------

async function begin() {
  await Promise.all([refreshCollections(), resumeBatches()]);
  await Promise.all([load(), quarantine?.load(), sources?.load()]);
}

/** Load the next page; with a filter in force, as many as fill a page of what it shows. */
function load() {
  loading ??= loadMore().finally(() => { loading = null; });
  return loading;
}

async function loadMore() {
  const before = shownRows();
  try {
    do await loadPage();
    while (rest && shownRows() < goal(before + PAGE));
  } catch (error) {
    showProblem(problem, error);
  }
  page.files.setAttribute("aria-busy", "false");
  tidy();
}

async function loadPage() {
  const { data, has_more: more } = await call(`/v1/files?limit=${PAGE}${last ? `&after=${encodeURIComponent(last)}` : ""}`);
  for (const file of data) known(file, (element) => page.files.append(element));
  last = data.at(-1)?.id ?? last;
  rest = more;
}

// How many documents have to be shown before `wanted` of them are: without a filter, every page brings enough.
function goal(wanted) {
  if (collections.selected === ALL) return 0;
  return Math.min(wanted, collections.collection?.file_counts.total ?? wanted);
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
  if (file.x_job && !isFinal(file.x_job) && !inBatch.has(file.x_job.id)) watch(row, file.x_job.id);
  else if (file.status === "error" && file.x_job) explain(row, file.x_job.id);
}

async function explain(row, jobId) {
  const job = await call(`/v1/jobs/${encodeURIComponent(jobId)}`).catch(() => null);
  if (job) row.work(job);
}

async function watch(row, jobId) {
  row.work({ id: jobId, state: "queued", stage: "queued", done: 0, total: null });
  await watchJob(jobId, (job) => row.work(job));
  await ended(row);
  if (row.job.state === "succeeded") say(`${row.name} is ready.`);
  else if (row.job.state === "cancelled") say(`Reading ${row.name} was cancelled.`);
  else say(`${row.name} could not be read.`);
}

async function ended(row) {
  if (row.job.state === "quarantined") quarantine?.load();
  if (row.job.state !== "succeeded") return;
  await refresh(row);
  row.element.classList.add("fresh");
}

/** Read what the server knows about a row's file; one that is not there any more goes quietly. False then. */
async function refresh(row) {
  try {
    show(row, await call(`/v1/files/${encodeURIComponent(row.file.id)}`));
  } catch (error) {
    if (error.status !== 404) return true;
    drop(row);
    return false;
  }
  tidy();
  return true;
}

function show(row, file) {
  if (file.status === "processed") row.update(file);
  else row.describe(file);
}

/** Read the whole list again as far as it is shown: what stands in it may have changed in many places. */
async function relist() {
  const { data, has_more: more } = await call(`/v1/files?limit=${Math.min(MOST, byId.size + PAGE)}`);
  const found = new Map(data.map((file) => [file.id, file]));
  for (const [id, row] of [...byId]) {
    if (found.has(id)) show(row, found.get(id));
    else if (!more) drop(row);
  }
  tidy();
}

function drop(row) {
  const held = row.element.contains(document.activeElement);
  const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
  rows.delete(row);
  if (byId.get(row.file?.id) === row) byId.delete(row.file.id);
  row.element.remove();
  tidy();
  if (held) focusNear(next);
}

// Where the focus goes when its place has vanished.
function focusNear(element) {
  const near = element && !element.hidden ? element.querySelector("a, button") : null;
  (near ?? page["list-title"]).focus();
}

function tidy() {
  const wanted = page.filter.value.trim().toLowerCase();
  const here = [...rows].filter((row) => collections.shows(row.collectionId));
  const shown = new Set(here.filter((row) => row.searchable.includes(wanted)));
  for (const row of rows) row.element.hidden = !shown.has(row);
  page.more.hidden = !rest || (collections.collection !== null && here.length >= goal(MOST));
  const settled = page.files.getAttribute("aria-busy") === "false" && !rest && problem.hidden;
  page.empty.hidden = !(settled && rows.size === 0 && collections.selected === ALL);
  page["none-here"].hidden = !(settled && here.length === 0 && collections.selected !== ALL);
  page["filter-field"].hidden = here.length < 6 && wanted === "";
  page["none-match"].hidden = here.length === 0 || shown.size > 0;
}

const shownRows = () => [...rows].filter((row) => collections.shows(row.collectionId)).length;

function ofJob(job, act) {
  const row = byId.get(job.file_id);
  if (row) act(row);
}

function onPage(id, make) {
  const section = document.getElementById(id);
  return section && make(section);
}

function say(words) {
  page.announcer.textContent = words;
}

/** Download a file, after asking whether it is still there: a share may have ended since the page was opened. */
async function download(row, event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const { href } = event.currentTarget;
  if (await refresh(row)) el("a", { href, download: "" }).click();
}

/** Open a document's details; with a key held down, the browser opens a tab with them. */
function lookAt(row, event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  details.open(row.file.id, row.name);
}

page.more.addEventListener("click", load);
page.filter.addEventListener("input", tidy);

// --- collections ----------------------------------------------------------------------------------

/** Read the collections again; what stands in one that is gone goes with it. */
async function refreshCollections() {
  try {
    await collections.load();
  } catch (error) {
    showProblem(problem, error);
  }
}

// Another filter is in force, or what stands behind it has changed.
function narrowed() {
  const { collection, selected } = collections;
  page.files.classList.toggle("unsorted", collections.all.length === 0);
  page["list-title"].textContent = collection?.name ?? TITLES[selected];
  head.show(collection);
  aim(collection);
  for (const row of rows) {
    const within = row.file?.x_collection;
    const now = within && collections.get(within.id);
    if (within && !now) drop(row);
    else if (within && now.name !== within.name) show(row, { ...row.file, x_collection: { id: now.id, name: now.name } });
  }
  tidy();
  if (rest && shownRows() < goal(PAGE)) load();
}

const TITLES = { [ALL]: "Yours and shared with you", [LOOSE]: "Not in a collection" };

// Say where uploads go, and who may read them there.
function aim(collection) {
  const fills = collection !== null && collections.mayFill(collection);
  page["share-field"].hidden = fills;
  page["drop-into"].hidden = collection === null;
  if (collection !== null) {
    page["drop-into"].textContent = fills
      ? `They go into “${collection.name}”, whose readers may read them.`
      : `You cannot add to “${collection.name}”: what you upload here stands in no collection.`;
  }
  page["none-here"].textContent = emptyWords(collection, fills);
}

function emptyWords(collection, fills) {
  if (collection === null) return "Every document that you can read stands in a collection.";
  return fills ? "Nothing here yet. Drop a file above, or move one of yours here." : "Nothing here yet.";
}

async function named(collection, isNew) {
  await refreshCollections();
  if (!isNew) return say(`The collection is called ${collection.name} now.`);
  collections.select(collection.id);
  return say(`${collection.name} was created.`);
}

async function placed(row, collection) {
  await Promise.all([refresh(row), refreshCollections()]);
  say(collection ? `${row.name} is in ${collection.name} now.` : `${row.name} is in no collection now.`);
  if (row.element.hidden || !row.element.isConnected) focusNear(null);
}

async function removed(collection) {
  try {
    // The documents first: their rows shall not go with the collection.
    await relist();
  } catch (error) {
    showProblem(problem, error);
  }
  await refreshCollections();
  say(`${collection.name} was deleted.`);
  page["list-title"].focus();
}

page["new-collection"].addEventListener("click", () => naming.open());
page["new-collection"].disabled = false;
// Somebody may have shared or unshared a collection while the page was out of sight.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && last !== null) refreshCollections();
});

// --- uploading ------------------------------------------------------------------------------------

function take(chosen) {
  const files = [...chosen];
  if (files.length === 0) return;
  const collection = collections.collection;
  const fills = collection !== null && collections.mayFill(collection);
  // What stands in no collection would otherwise vanish behind the filter at once.
  if (collection !== null && !fills) collections.select(ALL);
  const into = fills ? collection.id : null;
  const share = !fills && page["share-everyone"].checked ? [EVERYONE] : [];
  const sent = files.map((file) => [file, new FileRow(file.name, actions, into)]);
  for (const [, row] of [...sent].reverse()) {
    rows.add(row);
    page.files.prepend(row.element);
  }
  const together = files.length > 1 ? newBatch(sent.map(([, row]) => row)) : null;
  for (const [file, row] of sent) start(row, file, { share, collection: into, together });
  tidy();
  say(files.length === 1 ? `Sending ${files[0].name}.` : `Sending ${files.length} files.`);
}

async function start(row, file, { share, collection, together }) {
  const stopper = new AbortController();
  stoppers.set(row, stopper);
  row.waiting();
  const batch = await together;
  try {
    const made = await uploads.pass(() => {
      stopper.signal.throwIfAborted();
      return upload(file, {
        share,
        collection,
        batch: batch?.id ?? null,
        signal: stopper.signal,
        progress: (sent, total) => row.sending(sent, total),
        broken: () => row.broken(),
      });
    });
    const isKnown = KNOWN.has(made.x_upload);
    if (batch && !isKnown && made.x_job) inBatch.add(made.x_job.id);
    arrived(row, made);
    batch?.sent(isKnown ? "known" : "queued");
  } catch (error) {
    if (error.name === "AbortError") drop(row);
    else row.failed(error);
    batch?.sent(error.name === "AbortError" ? "stopped" : "refused");
  } finally {
    stoppers.delete(row);
  }
}

// What an upload comes to when it adds nothing, so that no job belongs to it.
const KNOWN = new Set(["unchanged", "duplicate"]);

// A new version, or the same content again, already has a row; the newer one takes its place.
function arrived(row, file) {
  stoppers.delete(row);
  const before = byId.get(file.id);
  if (before && before !== row) drop(before);
  adopt(row, file);
  if (inBatch.has(file.x_job?.id)) row.work({ ...file.x_job, stage: "queued", done: 0, total: null });
  const words = row.arrived(file);
  if (words) say(`${file.filename}: ${words}`);
  if (row.collectionId !== null) refreshCollections();
}

page.choose.addEventListener("click", () => page.chosen.click());
page.choose.disabled = false;
page.chosen.addEventListener("change", () => {
  take(page.chosen.files);
  page.chosen.value = "";
});
takeDropped(take);

// --- several files at once ------------------------------------------------------------------------

/** Make a batch for the files of these rows; null when there is none to be had, and they go one by one. */
async function newBatch(ofRows) {
  const name = plural(ofRows.length, "file");
  const made = await call("/v1/batches", { method: "POST", json: { name } }).catch(() => null);
  if (made === null) return null;
  const batch = summaryOf(made.id, () => ofRows.forEach((row) => stoppers.get(row)?.abort()));
  batch.expect(ofRows.length);
  return batch;
}

/** Go on with what was uploaded together before the page was opened, and is not done. */
async function resumeBatches() {
  const active = await call("/v1/jobs?active=true").catch(() => ({ data: [] }));
  const ids = new Set(active.data.map((job) => job.batch_id).filter(Boolean));
  // A batch is its owner's alone: those of others are not there.
  const found = await Promise.all([...ids].map((id) => call(`/v1/batches/${encodeURIComponent(id)}`).catch(() => null)));
  for (const { id, jobs } of found.filter(Boolean)) {
    for (const job of jobs) inBatch.add(job.id);
    summaryOf(id).follow();
  }
}

function summaryOf(id, stop = () => {}) {
  const batch = new BatchSummary(id, {
    moved,
    stop,
    ended: say,
    dismissed: () => {
      batches.delete(id);
      batch.element.remove();
      page.choose.focus();
    },
  });
  batches.set(id, batch);
  page.batches.append(batch.element);
  return batch;
}

// A job of a batch, which may have changed since it was last looked at.
function moved(job) {
  const row = byId.get(job.file_id);
  const known = row?.job ?? row?.file.x_job;
  if (known?.id !== job.id || (known.state === job.state && (isFinal(job) || known.updated_at === job.updated_at))) return;
  row.work(job);
  if (isFinal(job)) ended(row);
  else if (known.state === "quarantined") quarantine?.load();
}

// --- deleting -------------------------------------------------------------------------------------

function forgotten(row) {
  drop(row);
  say(`${row.name} was deleted.`);
  if (row.job?.state === "quarantined") quarantine?.load();
  if (row.collectionId !== null) refreshCollections();
}

// --- one document, named by the page's address ----------------------------------------------------

const asked = new URL(location.href);
if (asked.searchParams.has("file")) {
  details.open(asked.searchParams.get("file"));
  // What is closed shall not come back with the next reload.
  asked.searchParams.delete("file");
  history.replaceState(history.state, "", asked);
}
begin();
