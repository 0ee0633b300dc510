// A citation's own page, for links from other clients.

import { el } from "../elements.js";
import { showSource } from "../source-view.js";

const place = document.querySelector("[data-source]");
const title = document.getElementById("source-title");
const id = decodeURIComponent(location.pathname.slice("/sources/".length));
const query = new URLSearchParams(location.search);
const span = query.has("start") && query.has("end") ? [Number(query.get("start")), Number(query.get("end"))] : null;

try {
  const source = await showSource(place, id, span, { link: false });
  title.textContent = source.file.name;
  title.dir = "auto";
  document.title = `${source.file.name} · Strongroom`;
} catch (error) {
  title.textContent = error.status === 404 ? "This source is not here" : "This source cannot be shown";
  place.replaceChildren(
    el("p", {}, error.status === 404 ? "It was deleted, or it is not shared with you." : error.message),
    el("p", {}, el("a", { class: "button", href: "/" }, "Ask something")),
  );
}
