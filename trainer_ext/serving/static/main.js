// The page: asks the server what it serves, then wires the tabs. Choices of the reader are kept in the browser.

import { askOne, askTwo, sendWithKeys, showExamples } from "./asking.js";
import { get, storedKey, storeKey } from "./client.js";
import { byId, el } from "./dom.js";
import { askForKey, reason } from "./failure.js";
import { forgetAnswers, speakFileTab, startFileTab } from "./file_tab.js";
import { splitCard, widgetTexts } from "./markdown.js";
import { documentsOf, showModel } from "./model_tab.js";
import { startTabs } from "./tabs.js";
import { languages, say, speak } from "./words.js";

// What the tabs share: all models, the chosen one, and the limits of a request, as /info has them.
const state = { models: [], model: null, limits: null };

// --- choices that are kept -------------------------------------------------------------------------------------------

function kept(name) {
  try {
    return localStorage.getItem(`trainer-ext-${name}`);
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`trainer-ext-${name}`, value);
  } catch {
    // The next visit begins with the defaults.
  }
}

function startSettings() {
  const theme = byId("theme");
  theme.value = kept("theme") ?? "light dark";
  const paint = () => (document.documentElement.style.colorScheme = theme.value);
  theme.addEventListener("change", () => {
    keep("theme", theme.value);
    paint();
  });
  paint();

  const language = byId("language");
  const preferred = navigator.languages.map((name) => name.slice(0, 2)).find((name) => languages.includes(name));
  language.value = kept("language") ?? preferred ?? "en";
  language.addEventListener("change", () => {
    keep("language", language.value);
    speak(language.value);
    speakFileTab();
    showChosenModel();
  });
  speak(language.value);
}

// --- models ----------------------------------------------------------------------------------------------------------

function fillSelect(select, chosen) {
  select.replaceChildren(...state.models.map(({ name }) => el("option", { value: name }, name)));
  select.value = state.models[chosen].name;
}

const modelOf = (select) => state.models.find(({ name }) => name === select.value);

// Ask what is served, and show the tabs; without the key, ask for it.
async function connect() {
  byId("problem").hidden = true;
  try {
    const { models, limits } = await get("info");
    Object.assign(state, { models, limits });
  } catch (error) {
    if (error.status === 401) {
      if (storedKey()) complain(say("key_wrong"));
      askForKey();
    } else {
      complain(reason(error));
    }
    return;
  }
  const hasSeveral = state.models.length > 1;
  byId("model-choice").hidden = !hasSeveral;
  byId("tab-compare").hidden = !hasSeveral;
  fillSelect(byId("model"), 0);
  fillSelect(byId("first"), 0);
  fillSelect(byId("second"), hasSeveral ? 1 : 0);
  state.model = state.models[0];
  byId("key-form").hidden = true;
  byId("forget").hidden = !storedKey();
  byId("main").hidden = false;
  await showChosenModel();
}

function complain(message) {
  byId("problem").textContent = message;
  byId("problem").hidden = false;
}

async function showChosenModel() {
  if (!state.model) return;
  showExamples([]);
  await showModel(state.model);
  const documents = await documentsOf(state.model).catch(() => []);
  const card = documents.find(({ kind }) => kind === "markdown");
  if (card) showExamples(widgetTexts(splitCard(card.content).metadata));
}

// --- start -----------------------------------------------------------------------------------------------------------

function startForms() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    storeKey(byId("key").value.trim());
    byId("key").value = "";
    connect();
  });
  byId("forget").addEventListener("click", () => {
    storeKey("");
    location.reload();
  });
  byId("model").addEventListener("change", () => {
    state.model = modelOf(byId("model"));
    byId("answer").replaceChildren();
    forgetAnswers();
    showChosenModel();
  });
  byId("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    askOne(state.model);
  });
  byId("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    askTwo([modelOf(byId("first")), modelOf(byId("second"))]);
  });
  sendWithKeys(byId("text-form"));
  sendWithKeys(byId("compare-form"));
}

startSettings();
startTabs();
startForms();
startFileTab(state);
connect();
