// One text to one or two models: the tabs "Text" and "Compare".

import { showAnswer } from "./answers.js";
import { post } from "./client.js";
import { byId, el } from "./dom.js";
import { failure } from "./failure.js";
import { currentExamples, say } from "./words.js";

// Send a form with Ctrl + Enter, as Enter begins a new line.
export function sendWithKeys(form) {
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

// Buttons that fill the text box; `texts` are those of the model's card, if it has any.
export function showExamples(texts) {
  const buttons = (texts.length ? texts : currentExamples()).map((text) =>
    el("button", { type: "button", class: "example", onclick: () => {
      byId("text").value = text;
      byId("text-form").requestSubmit();
    } }, text));
  byId("examples").replaceChildren(...buttons);
}

export async function askOne(model) {
  const place = byId("answer");
  await fillIn(place, () => ask(byId("text").value, model));
}

export async function askTwo(models) {
  const text = byId("compare-text").value;
  await fillIn(byId("compared"), async () => {
    const asked = models.map((model) => post("predict", { text, model: model.name }));
    const answers = (await Promise.all(asked)).map((reply) => reply.content);
    const columns = models.map((model, index) =>
      el("div", { class: "card" }, el("h2", {}, model.name), showAnswer(answers[index], model)));
    return el("div", {}, el("p", { class: "verdict" }, difference(...answers)), el("div", { class: "pair" }, columns));
  });
}

// The last request that was begun writes its answer; one that was overtaken does not.
const latest = new Map();

async function fillIn(place, make) {
  const token = {};
  latest.set(place, token);
  place.replaceChildren(el("p", { class: "hint" }, say("working")));
  const shown = await make().catch(failure);
  if (latest.get(place) === token) place.replaceChildren(shown);
}

async function ask(text, model) {
  const { content, tokens, milliseconds } = await post("predict", { text, model: model.name });
  const meta = el("p", { class: "hint" }, say("meta", { tokens, milliseconds: milliseconds.toFixed(1) }));
  const parts = [showAnswer(content, model), meta];
  if (tokens >= model.max_length) parts.push(el("p", { class: "hint" }, say("cut", { count: model.max_length })));
  return el("div", { class: "card" }, parts);
}

// One line on what two models say otherwise.
function difference(first, second) {
  if (first.aspects && second.aspects) {
    const names = Object.keys(first.aspects).filter((name) => name in second.aspects);
    const other = names.filter((name) => first.aspects[name].label !== second.aspects[name].label);
    const values = { count: other.length, total: names.length, names: other.join(", ") };
    return other.length ? say("differ_aspects", values) : say("agree_aspects", { count: names.length });
  }
  const [one, another] = [first, second].map(said);
  if (one === null || another === null) return say("other_tasks");
  return one === another ? say("agree", { answer: one }) : say("differ", { first: one, second: another });
}

// What an answer says in a few words; null if it has no class.
function said(answer) {
  if (answer.pred_class === undefined) return null;
  if (answer.rejected) return say("not_known");
  return [answer.pred_class].flat().join(", ") || say("no_label");
}
