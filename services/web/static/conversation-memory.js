// What this browser remembers for one person about conversations: two yes-or-no choices, never any content.

const PREFIX = "strongroom";

export class ChatMemory {
  #person;

  constructor(person) {
    this.#person = person;
  }

  /** Whether new conversations are kept. */
  get keeps() {
    return this.#read("keep");
  }

  set keeps(wanted) {
    this.#write("keep", wanted);
  }

  /** Whether the list of conversations stands open beside the chat. */
  get lists() {
    return this.#read("list");
  }

  set lists(open) {
    this.#write("list", open);
  }

  #read(name) {
    try {
      return localStorage.getItem(this.#key(name)) === "yes";
    } catch {
      // A browser that stores nothing has the calmer choice each time.
      return false;
    }
  }

  #write(name, value) {
    try {
      if (value) localStorage.setItem(this.#key(name), "yes");
      else localStorage.removeItem(this.#key(name));
    } catch {
      // Then the choice holds for this page only.
    }
  }

  #key(name) {
    return `${PREFIX}.${name}.${this.#person}`;
  }
}
