// Show one passage with its quote marked, and for PDF the page with the quote's lines boxed.

import { call } from "./api.js";
import { el, svg } from "./elements.js";

/** The API address of a citation's source. `span` is [start, end] in characters of the passage. */
export function sourceAddress(id, span) {
  const query = span ? `?start=${span[0]}&end=${span[1]}` : "";
  return `/v1/sources/${encodeURIComponent(id)}${query}`;
}

/** The page for people at which the same source can be opened again. */
export function sourcePage(id, span) {
  return sourceAddress(id, span).replace("/v1/sources/", "/sources/");
}

/** Fetch the source and fill `place`; return it. Access is checked again by the server. */
export async function showSource(place, id, span, { signal, link = true } = {}) {
  const source = await call(sourceAddress(id, span), { signal });
  const sheet = source.page_image ? pageSheet(source) : null;
  place.replaceChildren(
    el("p", { class: "source-where", dir: "auto" }, whereOf(source)),
    ...(sheet ? [sheet] : []),
    el("h3", {}, "The passage"),
    el("div", { class: "source-text", dir: "auto" }, ...marked(source.text, source.span)),
    el(
      "p",
      { class: "source-links" },
      link ? el("a", { href: sourcePage(id, span), target: "_blank", rel: "noopener" }, "Open on its own page") : null,
      link ? " · " : null,
      el("a", { href: `/v1/files/${encodeURIComponent(source.file.id)}/content`, download: "" }, "Download the document"),
    ),
  );
  return source;
}

function whereOf(source) {
  const heading = source.heading && !source.place.includes(source.heading) ? ` · ${source.heading}` : "";
  return `${source.place}${heading}`;
}

function marked(text, span) {
  if (!span || span[1] <= span[0]) return [text];
  // Offsets count code points, as Python does; a JavaScript string would count some characters twice.
  const points = Array.from(text);
  const part = (from, to) => points.slice(from, to).join("");
  return [part(0, span[0]), el("mark", {}, part(span[0], span[1])), part(span[1])];
}

function pageSheet(source) {
  const { url, scale } = source.page_image;
  const image = el("img", { src: url, alt: `Page ${source.page} of ${source.file.name}, with the quoted lines marked` });
  const figure = el("figure", { class: "sheet" }, image);
  image.addEventListener("load", () => {
    figure.classList.add("loaded");
    const boxes = (source.boxes ?? []).filter((box) => box.page === source.page);
    figure.append(overlay(boxes, image.naturalWidth / scale, image.naturalHeight / scale));
  });
  image.addEventListener("error", () => {
    figure.replaceWith(el("p", { class: "soft" }, "The picture of this page cannot be shown; the passage stands below."));
  });
  return figure;
}

// Boxes are in points from the top left, like the view box; the browser scales both with the image.
function overlay(boxes, width, height) {
  const shapes = boxes.map(({ x0, y0, x1, y1 }) =>
    svg("rect", { x: x0 - 2, y: y0 - 1, width: x1 - x0 + 4, height: y1 - y0 + 2, rx: 2 }),
  );
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...shapes);
}
