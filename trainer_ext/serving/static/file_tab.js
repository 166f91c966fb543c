// The tab "File": a csv file is read here, its texts are sent in parts, and a csv file is made of the answers.

import { post, Refused } from "./client.js";
import { CsvError, decode, freeNames, isFormula, parse, write } from "./csv.js";
import { byId, el, scrolling, table } from "./dom.js";
import { askForKey, reason } from "./failure.js";
import { answerAll } from "./parts.js";
import { say } from "./words.js";

const DELIMITERS = { ",": "comma", ";": "semicolon", "\t": "tab" };
// Names that columns with texts have, the likeliest first.
const LIKELY = ["text", "sentence", "content", "review", "title", "query", "文本", "内容", "评论", "标题"];
const PREVIEW = 3;

// The file that is open: null, or { name, header, rows, found, columns, errors, seconds }.
let file = null;
// The run that goes on, by which it is stopped.
let running = null;

export function startFileTab(state) {
  byId("file").addEventListener("change", () => open(byId("file").files[0]));
  byId("file-run").addEventListener("click", () => run(state));
  byId("file-stop").addEventListener("click", () => running?.abort());
  byId("column").addEventListener("change", () => reset());
}

// Answers of another model do not go on beside these.
export function forgetAnswers() {
  if (file) reset();
}

async function open(chosen) {
  running?.abort();
  file = null;
  byId("file-plan").hidden = true;
  byId("file-state").hidden = true;
  byId("file-result").replaceChildren();
  if (!chosen) return;
  try {
    const { text, encoding } = decode(new Uint8Array(await chosen.arrayBuffer()));
    file = { name: chosen.name, encoding, ...parse(text) };
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    byId("file-result").replaceChildren(el("p", { class: "error" }, say(error.word, error.values)));
    return;
  }
  const options = file.header.map((name, index) => el("option", { value: index }, name));
  byId("column").replaceChildren(...options);
  byId("column").value = String(likelyColumn(file.header, file.rows));
  byId("file-plan").hidden = false;
  reset();
  speakFileTab();
}

// The words of this tab that hold figures; called again when the language changes.
export function speakFileTab() {
  if (!file) return;
  const values = { rows: file.rows.length, columns: file.header.length, encoding: file.encoding.toUpperCase() };
  byId("file-found").textContent = say("file_found", { ...values, delimiter: say(DELIMITERS[file.delimiter]) });
  byId("file-preview").replaceChildren(table(file.header, file.rows.slice(0, PREVIEW)));
  byId("file-run").textContent = say(file.found.some(Boolean) ? "file_on" : "file_run");
  showCount();
}

function likelyColumn(header, rows) {
  const names = header.map((name) => name.trim().toLowerCase());
  for (const name of LIKELY) if (names.includes(name)) return names.indexOf(name);
  // Else the column whose first cells are longest.
  const lengths = header.map((_, index) => rows.slice(0, 50).reduce((sum, cells) => sum + cells[index].length, 0));
  return lengths.indexOf(Math.max(...lengths));
}

function reset() {
  running?.abort();
  file.found = file.rows.map(() => null);
  file.errors = new Map();
  file.columns = null;
  file.seconds = 0;
  byId("file-state").hidden = true;
  byId("file-result").replaceChildren();
  byId("file-run").textContent = say("file_run");
  byId("file-run").hidden = false;
  byId("file-stop").hidden = true;
}

const doneRows = () => file.found.filter(Boolean).length + file.errors.size;

function showCount() {
  byId("file-count").textContent = say("file_count", { done: doneRows(), rows: file.rows.length });
  byId("file-progress").max = file.rows.length;
  byId("file-progress").value = doneRows();
}

// Answer for the rows that have none yet.
async function run(state) {
  const stop = new AbortController();
  running = stop;
  setRunning(true);
  const started = performance.now();
  const current = file;
  let message;
  try {
    await answerRows(current, state, stop.signal);
    current.seconds += (performance.now() - started) / 1000;
    message = showResult(current);
  } catch (error) {
    current.seconds += (performance.now() - started) / 1000;
    message = stopMessage(error);
  }
  // Another file may have been opened meanwhile.
  if (current !== file || running !== stop) return;
  running = null;
  setRunning(false);
  speakFileTab();
  byId("file-result").replaceChildren(message);
  byId("file-result").querySelector("a")?.focus();
}

function setRunning(isRunning) {
  byId("file-state").hidden = false;
  const isDone = doneRows() === file.rows.length;
  byId("file-run").hidden = isRunning || isDone;
  byId("file-stop").hidden = !isRunning;
  showCount();
  // The button that was pressed is gone, and the focus with it.
  if (isRunning) byId("file-stop").focus();
  else if (!isDone) byId("file-run").focus();
}

async function answerRows(current, { model, limits }, signal) {
  const column = Number(byId("column").value);
  const texts = current.rows.map((cells) => cells[column]);
  const left = texts.map((_, index) => index).filter((index) => !current.found[index] && !current.errors.has(index));
  await answerAll(left, texts, limits, {
    ask: async (part) => (await post("page/rows", { texts: part, model: model.name }, signal)).content,
    done: (numbers, { columns, rows }) => {
      if (signal.aborted) return;
      current.columns ??= columns;
      if (current.columns.join("\n") !== columns.join("\n")) throw new CsvError("file_changed");
      numbers.forEach((number, index) => (current.found[number] = rows[index]));
      showCount();
    },
    failed: (number, error) => {
      if (signal.aborted) return;
      current.errors.set(number, error.reason);
      showCount();
    },
    busy: (seconds) => (byId("file-count").textContent = say("file_busy", { seconds })),
    sleep: (seconds) => sleep(seconds, signal),
  });
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function stopMessage(error) {
  if (error.name === "AbortError") return el("p", {}, say("file_stopped"));
  if (error instanceof CsvError) return el("p", { class: "error" }, say(error.word));
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) askForKey();
  return el("p", { class: "error" }, `${reason(error)} ${say("file_stopped")}`);
}

// Return what is said of a file that is done, with the link that saves it.
function showResult(current) {
  const rows = resultRows(current);
  const name = `${current.name.replace(/\.[^.]*$/, "")}-answers.csv`;
  const address = URL.createObjectURL(new Blob([write(rows)], { type: "text/csv" }));
  const parts = [
    el("p", {}, say("file_done", { rows: current.rows.length, seconds: current.seconds.toFixed(1) })),
    el("p", {}, el("a", { class: "save", href: address, download: name }, say("download", { name }))),
  ];
  if (current.errors.size) {
    const values = { count: current.errors.size, column: rows[0].at(-1) };
    parts.push(el("p", { class: "error" }, say("file_failed", values)));
  }
  const formulas = rows.reduce((sum, cells) => sum + cells.filter(isFormula).length, 0);
  if (formulas) parts.push(el("p", { class: "hint" }, say("file_formulas", { count: formulas })));
  const [header, ...cells] = rows;
  const first = cells.slice(0, PREVIEW).map((row) => row.map((cell) => String(cell ?? "")));
  parts.push(scrolling(say("first_rows"), table(header, first, say("first_rows"))));
  return el("div", {}, parts);
}

// The columns of the file, then those of `predict --output FILE.csv`; a last one says why a row has none.
function resultRows({ header, rows, found, columns, errors }) {
  const names = columns ?? [];
  const added = errors.size ? [...names, "error"] : names;
  const empty = names.map(() => null);
  const lines = rows.map((cells, index) => {
    const line = [...cells, ...(found[index] ?? empty)];
    return errors.size ? [...line, errors.get(index) ?? null] : line;
  });
  return [[...header, ...freeNames(added, header)], ...lines];
}
