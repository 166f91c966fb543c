// The tab "Model": what is served, the card, the metrics and the plots of the model's folder.

import { get, getBlob } from "./client.js";
import { byId, el, rounded, scrolling, table } from "./dom.js";
import { failure } from "./failure.js";
import { showMarkdown, splitCard } from "./markdown.js";
import { say } from "./words.js";

// By model; asked for once, and kept while the language changes.
const kept = new Map();
// Addresses of the plots that are shown, which the browser holds in memory until they are given back.
let shownPlots = [];

// Return the documents of a model: [{ name, kind, content | number }].
export async function documentsOf(model) {
  const key = `${model.name} ${model.version}`;
  if (!kept.has(key)) {
    const { documents } = await get(`page/documents?model=${encodeURIComponent(model.name)}`);
    kept.set(key, documents);
  }
  return kept.get(key);
}

export async function showModel(model) {
  const panel = byId("panel-model");
  try {
    const documents = await documentsOf(model);
    shownPlots.forEach(URL.revokeObjectURL);
    shownPlots = [];
    panel.replaceChildren(facts(model), ...documents.filter((document) => document.kind !== "image").map(section));
    const plots = documents.filter((document) => document.kind === "image");
    if (plots.length) panel.append(el("h2", {}, say("plots")), el("div", { class: "plots" }, plots.map((plot) => figure(plot, model))));
    if (!documents.length) panel.append(el("p", { class: "hint" }, say("no_documents")));
  } catch (error) {
    panel.replaceChildren(failure(error));
  }
}

function facts(model) {
  const probe = model.probe.map(({ file, verdict, rows }) => `${file}: ${verdict} (${rows})`).join(", ");
  const lines = [
    ["task", model.task],
    ["classes", shortened(model.classes)],
    ["columns", shortened(model.columns)],
    ["max_length", model.max_length],
    ["runs", `${model.runs} · ${model.providers.join(", ")}`],
    ["probe", probe],
    ["version", model.version.slice(0, 12)],
    ["loaded_at", model.loaded_at],
  ];
  const items = lines.filter(([, value]) => value !== "").map(([word, value]) => [el("dt", {}, say(word)), el("dd", {}, String(value))]);
  return el("div", {}, el("h2", {}, `${say("facts")}: ${model.name}`), el("dl", {}, items));
}

const shortened = (names) => names.slice(0, 20).join(", ") + (names.length > 20 ? ", …" : "");

function section({ name, kind, content }) {
  if (kind === "json") return el("details", { open: name.endsWith("metrics.json") }, el("summary", {}, name), showJson(name, content));
  const { metadata, body } = splitCard(content);
  const more = metadata ? el("details", {}, el("summary", {}, say("metadata")), el("pre", { tabindex: "0" }, metadata)) : null;
  return el("details", { open: true }, el("summary", {}, name), showMarkdown(body, 2), more);
}

function figure({ name, number }, model) {
  const image = el("img", { alt: say("plot", { name }) });
  // With the key in a header, which <img src> does not send.
  getBlob(`page/image?number=${number}&model=${encodeURIComponent(model.name)}`)
    .then((blob) => {
      const address = URL.createObjectURL(blob);
      shownPlots.push(address);
      image.src = address;
    })
    .catch((error) => image.replaceWith(failure(error)));
  return el("figure", {}, image, el("figcaption", {}, name));
}

// --- JSON as tables --------------------------------------------------------------------------------------------------

const isPlain = (value) => value === null || typeof value !== "object";
const plain = (value) => (typeof value === "number" ? rounded(value) : String(value ?? "–"));

// Plain values are rows of a table, a list of objects is a table, and whatever is nested opens by itself.
function showJson(name, value) {
  if (isPlain(value)) return el("p", {}, plain(value));
  if (Array.isArray(value)) return showList(name, value);
  const entries = Object.entries(value);
  const rows = entries.filter(([, inner]) => isPlain(inner)).map(([key, inner]) => [key, plain(inner)]);
  const nested = entries.filter(([, inner]) => !isPlain(inner));
  return el("div", {},
    rows.length ? scrolling(name, table([say("name"), say("value")], rows)) : null,
    nested.map(([key, inner]) => el("details", { open: key === "variants" }, el("summary", {}, key), showJson(key, inner))));
}

function showList(name, list) {
  if (list.every(isPlain)) return el("p", {}, list.map(plain).join(", ") || "–");
  if (list.some((item) => isPlain(item) || Array.isArray(item))) {
    return el("pre", { tabindex: "0" }, JSON.stringify(list, null, 1));
  }
  const keys = [...new Set(list.flatMap(Object.keys))].filter((key) => list.some((item) => isPlain(item[key] ?? null) && item[key] != null));
  const rows = list.map((item) => keys.map((key) => (isPlain(item[key] ?? null) ? plain(item[key]) : "…")));
  return scrolling(name, table(keys, rows));
}
