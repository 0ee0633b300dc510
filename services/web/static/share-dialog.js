// “Who may read this?”, for a file or a collection of one's own. Names take effect at once; labels are saved.

import { closable, showProblem } from "./elements.js";
import { LabelForm } from "./label-form.js";
import { PrincipalPicker } from "./principal-picker.js";
import { count } from "./words.js";

export class ShareDialog {
  #dialog;
  #parts;
  #readers;
  #shutOut;
  #labels;
  #subject = null;
  #changed = null;
  #turn = Promise.resolve();

  constructor(dialog) {
    this.#dialog = dialog;
    const part = (name) => dialog.querySelector(name);
    this.#parts = {
      name: part("#share-name"),
      rule: part("#share-rule"),
      narrowing: part("#share-narrowing"),
      within: part("#share-within"),
      readers: part("#share-readers"),
      denying: part("#share-denying"),
      denied: part("#share-denied"),
      labelling: part("#share-labelling"),
      status: part("#share-status"),
      problem: part(".problem"),
    };
    this.#readers = this.#picker(this.#parts.readers, READERS, (principal, yes) => this.#allow(principal, yes));
    this.#shutOut = this.#picker(part("#share-shut-out"), SHUT_OUT, (principal, yes) => this.#deny(principal, yes));
    this.#labels = new LabelForm(part("#share-labels"), (wanted) => this.#label(wanted));
    closable(dialog);
    this.#parts.denying.addEventListener("toggle", () => { if (this.#parts.denying.open) this.#shutOut.search(); });
    for (const choice of this.#choices()) choice.addEventListener("change", () => this.#narrow(choice.value === "only"));
  }

  /** Open for `subject`; `changed()` is called after each change, and when the subject is not there any more. */
  async open(subject, changed) {
    this.#subject = subject;
    this.#changed = changed;
    const { name, rule, narrowing, within, denying, labelling, status, problem, readers } = this.#parts;
    name.textContent = subject.name;
    rule.textContent = subject.rule;
    status.textContent = "";
    showProblem(problem, null);
    narrowing.hidden = subject.within === null;
    within.textContent = subject.within ?? "";
    readers.hidden = subject.within !== null;
    denying.open = labelling.open = false;
    this.#readers.reset();
    this.#shutOut.reset();
    this.#dialog.showModal();
    const access = await this.#reread();
    if (access) this.#begin(access);
  }

  #begin(access) {
    const { denying, labelling } = this.#parts;
    this.#labels.show(access);
    // What somebody has unfolded meanwhile stays so.
    if (access.deny.length > 0) denying.open = true;
    if (access.clearance > 0 || access.compartments.length > 0) labelling.open = true;
    if (!this.#parts.readers.hidden) this.#readers.search();
    if (this.#subject.within === null) this.#readers.focus();
    else this.#choices().find(({ checked }) => checked).focus();
  }

  #picker(place, words, set) {
    return new PrincipalPicker(place, words, {
      add: (principal) => set(principal, true),
      remove: (principal) => set(principal, false),
      failed: (error) => showProblem(this.#parts.problem, error),
    });
  }

  // Show what the server says now and return it; null when there is nothing to show.
  async #reread() {
    const subject = this.#subject;
    try {
      const access = await subject.access();
      // The dialog may have been closed and opened for something else meanwhile.
      if (subject !== this.#subject) return null;
      this.#show(access);
      return access;
    } catch (error) {
      if (subject !== this.#subject) return null;
      if (error.status === 404) this.#leave();
      else showProblem(this.#parts.problem, error);
      return null;
    }
  }

  #show(access) {
    const { readers, denied } = this.#parts;
    const narrowed = this.#subject.within !== null && access.allow !== null;
    for (const choice of this.#choices()) choice.checked = (choice.value === "only") === narrowed;
    readers.hidden = this.#subject.within !== null && !narrowed;
    this.#readers.show(access.allow ?? []);
    this.#shutOut.show(access.deny);
    denied.textContent = access.deny.length ? count(access.deny.length) : "";
  }

  // It is gone, or not theirs any more: the page shows that; there is nothing to say here.
  #leave() {
    this.#dialog.close();
    this.#changed();
  }

  async #allow(principal, yes) {
    if (!(await this.#attempt((subject) => subject.allow(principal, yes), this.#allowedWords(principal, yes)))) return;
    await this.#readers.search();
    this.#readers.focus();
  }

  async #deny(principal, yes) {
    if (!(await this.#attempt((subject) => subject.deny(principal, yes), deniedWords(principal, yes)))) return;
    await this.#shutOut.search();
    this.#shutOut.focus();
  }

  async #narrow(yes) {
    const words = yes ? "Only those named here can read it now." : "All readers of the collection can read it now.";
    if ((await this.#attempt((subject) => subject.narrow(yes), words)) && yes) this.#readers.search();
  }

  // What was typed stays when it cannot be, so that it can be corrected.
  #label(wanted) {
    return this.#attempt((subject) => subject.label(wanted), "The labels are saved.");
  }

  // Changes are made one after the other, in the order they were asked for: none is dropped while one is under way.
  #attempt(change, words) {
    const subject = this.#subject;
    const done = this.#turn.then(() => subject === this.#subject && this.#make(change, words));
    this.#turn = done.catch(() => {});
    return done;
  }

  // Make a change; say what was done, or why not, and show what is so afterwards.
  async #make(change, words) {
    const { status, problem } = this.#parts;
    showProblem(problem, null);
    status.textContent = "";
    try {
      await change(this.#subject);
      if (!(await this.#reread())) return false;
      status.textContent = words;
      await this.#changed();
      return true;
    } catch (error) {
      if (await this.#reread()) showProblem(problem, error);
      return false;
    }
  }

  #allowedWords({ label }, yes) {
    // Whoever is not among the collection's readers does not become one here.
    if (this.#subject.within !== null) return yes ? `${label} is among them now.` : `${label} is not among them any more.`;
    return yes ? `${label} can read it now.` : `${label} can no longer read it.`;
  }

  #choices() {
    return [...this.#parts.narrowing.querySelectorAll("input")];
  }
}

const READERS = {
  list: "People and groups who may read it",
  search: "Add a person or group",
  none: "Only you, so far.",
  add: (label) => `Add ${label}`,
  remove: (label) => `Stop sharing with ${label}`,
};

const SHUT_OUT = {
  list: "People and groups who may never read it",
  search: "Shut out a person or group",
  none: "Nobody is shut out.",
  add: (label) => `Shut out ${label}`,
  remove: (label) => `Stop shutting out ${label}`,
};

function deniedWords({ label }, yes) {
  return yes ? `${label} is shut out now.` : `${label} is no longer shut out.`;
}
