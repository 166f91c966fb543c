// What the page says, in English and Chinese. Names of classes and answers of the server stay as they are.

import { examples, words } from "./dictionary.js";

let language = "en";

export const languages = Object.keys(words);
export const currentLanguage = () => language;
export const currentExamples = () => examples[language];

// Say a word, with values in place of {name}.
export function say(word, values = {}) {
  const text = words[language][word];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Use a language, and write its words into every element that names one.
export function speak(chosen) {
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = say(element.dataset.word);
  }
  for (const element of document.querySelectorAll("[data-word-label]")) {
    element.setAttribute("aria-label", say(element.dataset.wordLabel));
  }
}
