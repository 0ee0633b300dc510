// The record: whether it is sound, its events, one answer's lineage, and where a document reached.

import { ready } from "../ready.js";
import { AnswerDialog } from "../record-answer.js";
import { Filters } from "../record-filters.js";
import { listenToIntegrity } from "../record-integrity.js";
import { EntryList } from "../record-list.js";
import { Permissions } from "../record-permissions.js";
import { Reach } from "../record-reach.js";

const find = (id) => document.getElementById(id);
const permissions = new Permissions();
const acts = {
  only: (wanted) => {
    filters.only(wanted);
    find("events-title").scrollIntoView();
    find("events-title").focus({ preventScroll: true });
  },
  answer: (id) => answers.open(id),
  reach: (file, version) => reach.of(file, version),
  asked: () => permissions.show(),
};
const answers = new AnswerDialog(find("answer"), acts);
const reach = new Reach(find("reach"), acts);
const list = new EntryList(acts);
const filters = new Filters(find("filters"), () => list.begin(filters));

listenToIntegrity();
permissions.show();
list.begin(filters);
ready();
