// What the page computes without a browser, by literal values: node tests/node/page_units.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const folder = new URL("../../trainer_ext/serving/static/", import.meta.url);
const load = (name) => import(fileURLToPath(new URL(name, folder)));
const csv = await load("csv.js");
const { markedParts } = await load("spans.js");
const markdown = await load("markdown.js");
const { answerAll, partsOf } = await load("parts.js");
const { Refused } = await load("client.js");
const { toneOf } = await load("tones.js");
const { words, examples } = await load("dictionary.js");

test("csv: quotes, line breaks, delimiters, blank lines, empty texts", () => {
  const { header, rows, delimiter } = csv.parse('id,text\r\n1,"a, ""b""\nc"\n\n2,""\n3,5" disk\n');
  assert.deepEqual(header, ["id", "text"]);
  assert.deepEqual(rows, [["1", 'a, "b"\nc'], ["2", ""], ["3", '5" disk']]);
  assert.equal(delimiter, ",");
  assert.deepEqual(csv.parse("a;b\n1,5;x").rows, [["1,5", "x"]]);
  assert.deepEqual(csv.parse("a\tb\n1\tx").rows, [["1", "x"]]);
  assert.deepEqual(csv.parse('text\n""\nlast').rows, [[""], ["last"]]);
});

test("csv: what is wrong is named", () => {
  const wordOf = (text) => {
    try {
      csv.parse(text);
    } catch (error) {
      return [error.word, error.values.row];
    }
  };
  assert.deepEqual(wordOf("a,b\n1,2\n3"), ["csv_cells", 2]);
  assert.deepEqual(wordOf('a,b\n1,"2\n3'), ["csv_quote", 1]);
  assert.deepEqual(wordOf("a,b\n"), ["csv_empty", undefined]);
});

test("csv: what is written is read back", () => {
  const rows = [["a", "b"], ['x "y"\n,z', ""]];
  const text = csv.write([...rows, ["n", 0.5], ["none", null]]);
  assert.ok(text.startsWith("\ufeff"));
  const { header, rows: read } = csv.parse(text.slice(1));
  assert.deepEqual([header, ...read], [...rows, ["n", "0.5"], ["none", ""]]);
  assert.deepEqual(csv.freeNames(["label", "score"], ["label", "predicted_label"]), ["predicted_predicted_label", "score"]);
  assert.deepEqual(["=cmd|x", "=SUM(A1)", "-1", "@name", 5].map(csv.isFormula), [true, true, false, false, false]);
});

test("encodings: UTF-8 with its mark, UTF-16, GB18030, Western European", () => {
  assert.deepEqual(csv.decode(Buffer.from("\ufeff味道")), { text: "味道", encoding: "utf-8" });
  assert.equal(csv.decode(Buffer.from("\ufeff味道", "utf16le")).text, "味道");
  assert.deepEqual(csv.decode(Uint8Array.from([0xce, 0xb6, 0xb5, 0xc0])), { text: "味道", encoding: "gb18030" });
  assert.deepEqual(csv.decode(Uint8Array.from([0x63, 0x61, 0x66, 0xe9])), { text: "café", encoding: "windows-1252" });
});

test("slots are cut by characters, as Python counts them", () => {
  const slots = [{ slot: "city", start: 3, end: 5 }, { slot: "who", start: 0, end: 1 }];
  const expected = [{ text: "😀", slot: "who" }, { text: "去 ", slot: null }, { text: "北京", slot: "city" }, { text: "!", slot: null }];
  assert.deepEqual(markedParts("😀去 北京!", slots), expected);
  assert.deepEqual(markedParts("none", []), [{ text: "none", slot: null }]);
});

test("cards: metadata, widget texts, blocks", () => {
  const { metadata, body } = markdown.splitCard('---\nlicense: mit\nwidget:\n- text: "a: \\"b\\""\n- text: plain\n  example_title: x\ntags: [t]\n---\n# T\n');
  assert.deepEqual(markdown.widgetTexts(metadata), ['a: "b"', "plain"]);
  assert.deepEqual(markdown.parse(body), [{ kind: "heading", level: 1, text: "T" }]);
  const blocks = markdown.parse("a\nb\n\n| x | y |\n|---|--:|\n| 1 | 2 \\| 3 |\n\n- one\n  more\n- two\n\n```sh\n# no heading\n```\n");
  assert.deepEqual(blocks, [
    { kind: "text", text: "a b" },
    { kind: "table", header: ["x", "y"], rows: [["1", "2 | 3"]] },
    { kind: "list", isOrdered: false, items: ["one more", "two"] },
    { kind: "code", text: "# no heading" },
  ]);
});

test("parts hold as many texts and bytes as a request may", () => {
  const texts = ["aaaa", "bbbb", "cccc", "d".repeat(500)];
  assert.deepEqual(partsOf([0, 1, 2, 3], texts, { texts: 2, body: 1 << 20 }), [[0, 1], [2, 3]]);
  assert.deepEqual(partsOf([0, 2, 3], texts, { texts: 9, body: 220 }), [[0, 2], [3]]);
});

// A server that is busy once, refuses texts with "bad" in any part that has one, and is lost after `lostAfter` requests.
function stub(lostAfter = Infinity) {
  const log = { answers: new Map(), failed: [], busy: 0, requests: 0 };
  const ask = async (texts) => {
    log.requests += 1;
    if (log.requests === 1) throw new Refused(503, "full", 2);
    if (log.requests > lostAfter) throw new Refused(0, "gone");
    if (texts.some((text) => text.includes("bad"))) throw new Refused(422, "texts.0: bad");
    return texts.map((text) => text.toUpperCase());
  };
  const done = (numbers, content) => numbers.forEach((number, index) => log.answers.set(number, content[index]));
  const failed = (number, error) => log.failed.push([number, error.message]);
  return { log, calls: { ask, done, failed, busy: () => (log.busy += 1), sleep: async () => {} } };
}

test("a file: each text once, in its place; a bad text fails alone; a busy server is waited for", async () => {
  const texts = Array.from({ length: 20 }, (_, number) => (number === 13 ? "bad" : `t${number}`));
  const { log, calls } = stub();
  await answerAll(texts.map((_, number) => number), texts, { texts: 4, body: 1 << 20 }, calls);
  assert.equal(log.busy, 1);
  assert.deepEqual(log.failed, [[13, "texts.0: bad"]]);
  assert.equal(log.answers.size, 19);
  for (const [number, answer] of log.answers) assert.equal(answer, `T${number}`);
});

test("a file: a server that is gone ends it, and what was answered is kept", async () => {
  const texts = Array.from({ length: 20 }, (_, number) => `t${number}`);
  const { log, calls } = stub(3);
  const run = answerAll(texts.map((_, number) => number), texts, { texts: 4, body: 1 << 20 }, calls);
  await assert.rejects(run, (error) => error.status === 0);
  assert.equal(log.answers.size, 8);
});

test("colours: polarities in both languages, other classes in turn", () => {
  assert.deepEqual(["positive", "负面", "中性", "not_mentioned", "sports"].map((name) => toneOf(name, 9)),
    ["tone-good", "tone-bad", "tone-flat", "tone-none", "tone-1"]);
});

test("every word is there in every language, with the same values", () => {
  const valuesOf = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();
  for (const [language, dictionary] of Object.entries(words)) {
    assert.deepEqual(Object.keys(dictionary).sort(), Object.keys(words.en).sort());
    assert.equal(examples[language].length, examples.en.length);
    for (const word of Object.keys(words.en)) assert.deepEqual(valuesOf(dictionary[word]), valuesOf(words.en[word]), word);
  }
});
