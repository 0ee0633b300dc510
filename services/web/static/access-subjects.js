// What “Who may read this?” can be asked about: a file by itself, a file in a collection, a whole collection.
// Each knows its sentence, reads its access list as {allow, deny, clearance, compartments}, and changes it.
// `allow` is null where all readers of the collection are meant.

import { call } from "./api.js";

class Subject {
  /** The collection whose readers this can only narrow; null when it stands for itself. */
  within = null;

  constructor(address, name) {
    this.address = address;
    this.name = name;
  }

  /** Let `principal` read it, or stop that. */
  allow(principal, yes) {
    return call(this.#line(principal), { method: yes ? "PUT" : "DELETE" });
  }

  /** Shut `principal` out, or stop that. */
  deny(principal, yes) {
    return call(`${this.#line(principal)}?effect=deny`, { method: yes ? "PUT" : "DELETE" });
  }

  #line({ id }) {
    return `${this.address}/shares/${encodeURIComponent(id)}`;
  }
}

class OneFile extends Subject {
  constructor(file) {
    super(`/v1/files/${encodeURIComponent(file.id)}`, file.filename);
  }

  /** Ask for a clearance and compartments. */
  label({ clearance, compartments }) {
    return this.change((access) => ({ ...access, clearance, compartments }));
  }

  // The whole restriction is sent; it is read again just before, so that an older page undoes nothing.
  async change(changed) {
    const { only, deny, clearance, compartments } = await call(`${this.address}/access`);
    const access = { only: only && only.map(({ id }) => id), deny: deny.map(({ id }) => id), clearance, compartments };
    return call(`${this.address}/access`, { method: "PUT", json: changed(access) });
  }
}

/** A file that stands in no collection. */
export class LooseFile extends OneFile {
  rule = "You, and the people and groups named here.";

  /** Return the access list as it is now. */
  async access() {
    const [file, { deny, clearance, compartments }] = await Promise.all([call(this.address), call(`${this.address}/access`)]);
    return { allow: file.x_shared_with, deny, clearance, compartments };
  }
}

/** A file whose collection decides who may read it, and that can only be narrowed. */
export class FileInCollection extends OneFile {
  rule = "The collection decides who may read it; here you can only narrow that.";
  // Whom it was narrowed to, so that a change of mind does not lose the list.
  #before = [];

  constructor(file) {
    super(file);
    this.within = file.x_collection.name;
  }

  /** Return the access list as it is now. */
  async access() {
    const { only, deny, clearance, compartments } = await call(`${this.address}/access`);
    if (only !== null) this.#before = only.map(({ id }) => id);
    return { allow: only, deny, clearance, compartments };
  }

  /** Keep it to some of the collection's readers, or open it to all of them again. */
  narrow(yes) {
    return this.change((access) => ({ ...access, only: yes ? this.#before : null }));
  }

  allow({ id }, yes) {
    return this.change((access) => ({
      ...access,
      only: [...(access.only ?? []).filter((listed) => listed !== id), ...(yes ? [id] : [])],
    }));
  }
}

/** A collection with everything that stands in it. */
export class WholeCollection extends Subject {
  rule = "You, and the people and groups named here. Its documents can be restricted further.";

  constructor(collection) {
    super(`/v1/vector_stores/${encodeURIComponent(collection.id)}`, collection.name);
  }

  /** Return the access list as it is now. */
  async access() {
    const { x_shared_with: allow, x_denied: deny, x_clearance: clearance, x_compartments: compartments } = await call(this.address);
    return { allow, deny, clearance, compartments };
  }

  /** Ask for a clearance and compartments. */
  label(wanted) {
    return call(`${this.address}/label`, { method: "PATCH", json: wanted });
  }
}

/** Return what the access dialog is about when it is opened for `file`. */
export function subjectOf(file) {
  return file.x_collection ? new FileInCollection(file) : new LooseFile(file);
}
