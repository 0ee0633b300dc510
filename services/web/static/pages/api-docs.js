// A reader for /openapi.json: every operation with its parameters, request and answers. Light, and ours,
// because the usual viewers are fetched from elsewhere.

import { call } from "../api.js";
import { el, showProblem } from "../elements.js";

const METHODS = ["get", "head", "post", "put", "patch", "delete", "options"];
const DEEPEST = 6;

document.getElementById("example").textContent = [
  "from openai import OpenAI",
  "",
  `client = OpenAI(base_url="${location.origin}/v1", api_key="sr-…")`,
  "answer = client.chat.completions.create(",
  '    model="strongroom",',
  '    messages=[{"role": "user", "content": "How many days of leave can I carry over?"}],',
  ")",
  "print(answer.choices[0].message.content)",
].join("\n");

const place = document.getElementById("operations");
try {
  const description = await call("/openapi.json");
  place.replaceChildren(...sections(description));
} catch (error) {
  place.replaceChildren();
  showProblem(document.querySelector(".problem"), error);
}
place.setAttribute("aria-busy", "false");

function sections(description) {
  const byTag = new Map();
  for (const [path, item] of Object.entries(description.paths ?? {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? "other";
      byTag.set(tag, [...(byTag.get(tag) ?? []), operation(description, path, method, item[method])]);
    }
  }
  return [...byTag].map(([tag, operations]) => el("section", {}, el("h2", {}, tag), ...operations));
}

function operation(description, path, method, { summary, description: text, parameters = [], requestBody, responses = {} }) {
  const details = el(
    "details",
    { class: "operation" },
    el("summary", {}, el("span", { class: "method" }, method.toUpperCase()), el("code", {}, path), el("span", { class: "soft" }, summary ?? "")),
  );
  // Schemas are drawn when somebody looks; all of them at once would be thousands of elements.
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    details.append(
      el(
        "div",
        { class: "operation-body" },
        text ? el("p", {}, text) : null,
        ...(parameters.length ? [el("h3", {}, "Parameters"), el("ul", { class: "schema" }, ...parameters.map((one) => parameter(description, one)))] : []),
        ...bodyOf(description, "Request", requestBody),
        ...Object.entries(responses).flatMap(([status, response]) => bodyOf(description, `Answer ${status}`, response)),
      ),
    );
  }, { once: true });
  return details;
}

function parameter(description, one) {
  const { name, in: place, required, description: text, schema } = resolve(description, one);
  return el("li", {}, el("code", {}, name), ` ${typeOf(description, schema ?? {})}, in ${place}${required ? ", required" : ""}`, text ? el("span", { class: "soft" }, ` — ${text}`) : null);
}

function bodyOf(description, title, body) {
  if (!body) return [];
  const { description: text, content = {} } = resolve(description, body);
  const parts = Object.entries(content).map(([type, { schema }]) => [
    el("p", { class: "soft small" }, type),
    schema ? properties(description, schema, 0) : null,
  ]);
  return [el("h3", {}, title), text ? el("p", { class: "soft" }, text) : null, ...parts.flat()];
}

function properties(description, schema, depth) {
  const { properties: fields, required = [], items, anyOf, oneOf, additionalProperties } = resolve(description, schema);
  if (depth >= DEEPEST) return null;
  if (items) return properties(description, items, depth);
  if (typeof additionalProperties === "object" && !fields) return properties(description, additionalProperties, depth);
  const choices = (anyOf ?? oneOf)?.map((choice) => properties(description, choice, depth)).filter(Boolean);
  if (choices?.length) return el("div", {}, ...choices);
  if (!fields) return null;
  const lines = Object.entries(fields).map(([name, field]) =>
    el(
      "li",
      {},
      el("code", {}, name),
      ` ${typeOf(description, field)}${required.includes(name) ? ", required" : ""}`,
      describe(description, field),
      properties(description, field, depth + 1),
    ),
  );
  return el("ul", { class: "schema" }, ...lines);
}

function describe(description, schema) {
  const text = schema.description ?? resolve(description, schema).description;
  return text ? el("span", { class: "soft" }, ` — ${text}`) : null;
}

function typeOf(description, schema) {
  const { type, items, anyOf, oneOf, enum: values, const: value, format } = resolve(description, schema);
  if (value !== undefined) return JSON.stringify(value);
  if (values) return values.map((one) => JSON.stringify(one)).join(" | ");
  if (anyOf ?? oneOf) return (anyOf ?? oneOf).map((choice) => typeOf(description, choice)).join(" | ");
  if (type === "array") return `list of ${typeOf(description, items ?? {})}`;
  return [type ?? "object", format ? `(${format})` : ""].join(" ").trim();
}

function resolve(description, schema) {
  if (!schema.$ref) return schema;
  return schema.$ref.replace(/^#\//, "").split("/").reduce((at, key) => at?.[key], description) ?? {};
}
