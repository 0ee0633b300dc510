// What stands above the documents of the chosen collection: its facts, and its owner's buttons.

import { deniedWords, labelWords, sharedWords } from "./access-words.js";
import { el } from "./elements.js";
import { plural } from "./words.js";

export class CollectionHead {
  #place;
  #facts;
  #buttons;
  #collection = null;

  /** `actions` holds rename(collection), share(collection) and remove(collection). */
  constructor(place, actions) {
    this.#place = place;
    this.#facts = place.querySelector("#collection-facts");
    this.#buttons = place.querySelector("#collection-actions");
    for (const button of this.#buttons.querySelectorAll("button")) {
      button.addEventListener("click", () => actions[button.dataset.action](this.#collection));
    }
  }

  /** Show `collection`, or nothing for null. */
  show(collection) {
    this.#collection = collection;
    this.#place.hidden = collection === null;
    if (collection === null) return;
    this.#facts.replaceChildren(...factsOf(collection).map((fact) => el("span", { dir: "auto" }, fact)));
    this.#buttons.hidden = !collection.x_owner.me;
    for (const button of this.#buttons.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent} ${collection.name}`);
    }
  }
}

function factsOf({ x_owner: owner, x_shared_with: shared, x_denied: denied, x_clearance: clearance, x_compartments: compartments, file_counts: counts }) {
  const facts = [
    owner.me ? "Yours" : `From ${owner.label}`,
    sharedWords(shared, owner.me),
    deniedWords(denied),
    ...labelWords(clearance, compartments),
    plural(counts.total, "document"),
  ];
  return facts.filter(Boolean);
}
