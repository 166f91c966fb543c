// An answer of /predict as elements. What it holds decides how it is shown: the page knows no names of tasks.

import { breakable, el, hiddenText, percent, rounded, scrolling, table } from "./dom.js";
import { markedParts } from "./spans.js";
import { saysNothing, toneOf } from "./tones.js";
import { say } from "./words.js";

// Longer lists open when they are asked for.
const SHOWN = 10;

// Show one answer of a model, as /info describes it.
export function showAnswer(answer, model) {
  const shown = showSaid(answer, model);
  // The model says that it does not know; what it would have said stays beside that.
  if (answer.rejected) shown.prepend(el("p", { class: "error" }, say("rejected", { score: rounded(answer.ood_score) })));
  return shown;
}

function showSaid(answer, model) {
  if (answer.aspects) return showAspects(answer.aspects, model.classes);
  if (answer.scores) return showScores(answer.scores);
  if (answer.slots) return showSlots(answer);
  return showClasses(answer, model.classes);
}

// --- classes ---------------------------------------------------------------------------------------------------------

function showClasses(answer, classes) {
  const chosen = new Set(answer.labels ?? [answer.label]);
  const names = inOrder(answer.probabilities, classes);
  const entries = names.map((name, index) => ({ name, index, share: answer.probabilities[name] }));
  entries.sort((one, other) => other.share - one.share);
  const bars = entries.map((entry) => classBar(entry, chosen.has(entry.name)));
  const verdict = el("p", { class: "verdict" });
  const said = entries.filter((entry) => chosen.has(entry.name));
  for (const entry of said) verdict.append(chip(entry.name, toneOf(entry.name, entry.index)), " ");
  if (!said.length) verdict.append(chip(say("no_label"), "tone-none"));
  return el("div", {}, verdict, longList(bars));
}

// The classes of an answer as the model orders them; they are others if it was replaced since the page asked.
function inOrder(probabilities, classes) {
  const known = classes.filter((name) => name in probabilities);
  return known.length === Object.keys(probabilities).length ? known : Object.keys(probabilities);
}

function classBar({ name, index, share }, isChosen) {
  const mark = isChosen ? [el("span", { "aria-hidden": "true" }, "✓ "), hiddenText(`${say("chosen")}: `)] : [];
  return el("li", { class: isChosen ? "bar chosen" : "bar" },
    el("span", { class: "name" }, mark, name),
    el("span", { class: "number" }, percent(share)),
    fill(share, toneOf(name, index)));
}

// A coloured bar; the number beside it says the same to those who do not see it.
function fill(share, tone) {
  const inner = el("span", { class: `fill ${tone}` });
  // Through the object model: the page's policy forbids styles in attributes.
  inner.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return el("span", { class: "track", "aria-hidden": "true" }, inner);
}

const chip = (name, tone) => el("strong", { class: "chip" }, el("span", { class: `dot ${tone}` }), name);

function longList(items) {
  const list = el("ul", { class: "bars" }, items.slice(0, SHOWN));
  if (items.length <= SHOWN) return list;
  const more = el("button", { type: "button", onclick: () => {
    list.append(...items.slice(SHOWN));
    // The button goes, so the first of the new lines gets the focus instead of nothing.
    items[SHOWN].tabIndex = -1;
    items[SHOWN].focus();
    more.remove();
  } }, say("show_all", { count: items.length }));
  return el("div", {}, list, more);
}

// --- aspects ---------------------------------------------------------------------------------------------------------

function showAspects(aspects, classes) {
  const names = Object.keys(aspects);
  classes = inOrder(aspects[names[0]].probabilities, classes);
  const rows = names.map((name) => aspectRow(name, aspects[name], classes));
  const list = el("ul", { class: "aspects" }, rows);
  const parts = [legend(classes)];
  if (classes.some(saysNothing)) parts.push(mentionedOnly(names, aspects, rows, list));
  parts.push(list, numbersOf(names, aspects, classes));
  return el("div", {}, parts);
}

function aspectRow(name, { label, score, probabilities }, classes) {
  const stack = el("span", { class: "track stack", "aria-hidden": "true" });
  classes.forEach((other, index) => {
    const part = el("span", { class: `fill ${toneOf(other, index)}`, title: `${other} ${percent(probabilities[other])}` });
    part.style.width = `${100 * probabilities[other]}%`;
    stack.append(part);
  });
  const tone = toneOf(label, classes.indexOf(label));
  return el("li", { class: saysNothing(label) ? "aspect quiet" : "aspect" },
    el("span", { class: "name" }, breakable(name)), hiddenText(": "),
    chip(label, tone), hiddenText(", "),
    el("span", { class: "number" }, percent(score)),
    stack);
}

const legend = (classes) =>
  el("p", { class: "legend" }, hiddenText(`${say("legend")}: `),
    classes.map((name, index) => el("span", {}, el("span", { class: `dot ${toneOf(name, index)}` }), name, " ")));

function mentionedOnly(names, aspects, rows, list) {
  const nothing = el("p", { class: "hint", hidden: true }, say("none_mentioned"));
  const box = el("input", { type: "checkbox", onchange: () => {
    let left = 0;
    names.forEach((name, index) => {
      rows[index].hidden = box.checked && saysNothing(aspects[name].label);
      left += rows[index].hidden ? 0 : 1;
    });
    nothing.hidden = left > 0;
    list.hidden = left === 0;
  } });
  return el("div", {}, el("label", { class: "check" }, box, say("only_mentioned")), nothing);
}

function numbersOf(names, aspects, classes) {
  const headers = [say("aspect"), say("verdict"), ...classes];
  const rows = names.map((name) => {
    const { label, probabilities } = aspects[name];
    return [name, label, ...classes.map((other) => probabilities[other].toFixed(4))];
  });
  return el("details", {}, el("summary", {}, say("show_numbers")), scrolling(say("show_numbers"), table(headers, rows)));
}

// --- scores ----------------------------------------------------------------------------------------------------------

function showScores(scores) {
  const entries = Object.entries(scores);
  const largest = Math.max(...entries.map(([, score]) => Math.abs(score))) || 1;
  const bars = entries.map(([name, score]) =>
    el("li", { class: "bar" },
      el("span", { class: "name" }, name),
      el("span", { class: "number" }, rounded(score)),
      fill(Math.abs(score) / largest, score < 0 ? "tone-1" : "tone-0")));
  const hint = entries.length > 1 ? el("p", { class: "hint" }, say("relative")) : null;
  return el("div", {}, el("ul", { class: "bars" }, bars), hint);
}

// --- slots -----------------------------------------------------------------------------------------------------------

function showSlots({ text, intent, intent_score: score, slots }) {
  const verdict = el("p", { class: "verdict" }, el("span", { class: "hint" }, `${say("intent")}: `),
    chip(intent, "tone-0"), " ", el("span", { class: "number" }, percent(score)));
  if (!slots.length) return el("div", {}, verdict, el("p", { class: "marked" }, text), el("p", { class: "hint" }, say("no_slots")));
  const kinds = [...new Set(slots.map((slot) => slot.slot))];
  const marked = markedParts(text, slots).map(({ text: part, slot }) =>
    slot ? el("mark", { class: `slot ${toneOf(slot, kinds.indexOf(slot) + 1)}` }, part, " ", el("small", {}, slot)) : part);
  const rows = slots.map((slot) => [slot.slot, slot.text, `${slot.start}–${slot.end}`]);
  const headers = [say("slot"), say("slot_text"), say("place")];
  return el("div", {}, verdict, el("p", { class: "marked" }, marked), scrolling(say("slot"), table(headers, rows)));
}
