// Drive the page of a running server in headless Chromium: node page.mjs SETTINGS.json
//
// SETTINGS as tests/serving/test_browser.py writes them, which also judges the JSON that is printed. With `screenshots`, a
// folder, the pictures of docs/ are drawn there. `npm install` in this folder brings playwright-core and axe-core.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const settings = JSON.parse(readFileSync(process.argv[2], "utf-8"));
const { url, models } = settings;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf-8");
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1000, height: 760 };
const seen = { requests: [], errors: [], violations: [], wide: [], answers: {}, focus: [] };

const browser = await chromium.launch({
  executablePath: settings.chromium,
  // Names of other machines are not found; what the page asks for is recorded all the same.
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
});

async function open(options = {}) {
  const context = await browser.newContext({ viewport: DESK, locale: "en-US", acceptDownloads: true, ...options });
  context.on("request", (request) => seen.requests.push(request.url()));
  const page = await context.newPage();
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") seen.errors.push(message.text());
  });
  page.on("dialog", (dialog) => {
    seen.errors.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(url);
  return page;
}

async function picture(page, name, fullPage = true) {
  if (settings.screenshots) await page.screenshot({ path: `${settings.screenshots}/${name}.png`, fullPage });
}

// Look for what a screen reader stumbles over, contrast included, and for what is wider than the window.
async function inspect(page, name) {
  // Through the debugger: the page's policy refuses scripts in the page.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  for (const { id, nodes } of violations) seen.violations.push([name, id, nodes[0].html, nodes[0].failureSummary]);
  const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  if (inner > outer) seen.wide.push([name, inner, outer]);
}

async function ask(page, model, text, withKeys = true) {
  if (models.length > 1) await page.selectOption("#model", model);
  await page.fill("#text", text);
  if (withKeys) await page.press("#text", "Control+Enter");
  else await page.click("#text-form .primary");
  await page.waitForSelector("#answer .card, #answer .error");
  return page.innerText("#answer");
}

const focused = (page) => page.evaluate(() => document.activeElement.id);

async function textOfEveryModel() {
  const page = await open();
  await page.waitForSelector("#main:not([hidden])");
  for (const model of models) {
    seen.answers[model] = await ask(page, model, settings.texts[model]);
    await inspect(page, model);
    await picture(page, model);
  }
  await page.click("#examples button");
  await page.waitForSelector("#answer .card");
  await page.context().close();
}

async function narrowDarkAndChinese() {
  const page = await open({ viewport: PHONE, colorScheme: "dark", locale: "zh-CN", isMobile: true, hasTouch: true });
  await page.waitForSelector("#main:not([hidden])");
  seen.language = await page.getAttribute("html", "lang");
  seen.tab = await page.innerText("#tab-text");
  seen.background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  for (const model of models) {
    await ask(page, model, settings.chinese?.[model] ?? settings.texts[model], false);
    await inspect(page, `${model}, phone`);
    await picture(page, `${model}-phone-dark-zh`);
  }
  for (const tab of ["file", "model", "compare"]) {
    if (models.length === 1 && tab === "compare") continue;
    await page.click(`#tab-${tab}`);
    await inspect(page, `${tab}, phone`);
  }
  // The reader's own choice wins over the system's, and is there again after a reload.
  await page.selectOption("#theme", "light");
  await page.selectOption("#language", "en");
  await page.reload();
  await page.waitForSelector("#main:not([hidden])");
  seen.kept = [
    await page.innerText("#tab-text"),
    await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
  ];
  await page.context().close();
}

async function keyboard() {
  const page = await open();
  await page.waitForSelector("#main:not([hidden])");
  await page.focus("#tab-text");
  for (const key of ["ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home", "Tab"]) {
    await page.keyboard.press(key);
    seen.focus.push(await focused(page));
  }
  await page.keyboard.type(settings.texts[models[0]]);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#answer .card");
  await page.context().close();
}

async function file() {
  const page = await open();
  await page.waitForSelector("#main:not([hidden])");
  if (models.length > 1) await page.selectOption("#model", settings.csvModel);
  await page.click("#tab-file");
  await page.setInputFiles("#file", settings.csv);
  await page.waitForSelector("#file-plan:not([hidden])");
  seen.found = await page.innerText("#file-found");
  seen.column = await page.$eval("#column", (select) => select.selectedOptions[0].textContent);
  await page.click("#file-run");
  await page.waitForSelector("a.save", { timeout: 60000 });
  seen.progress = await page.innerText("#file-count");
  await inspect(page, "file");
  await picture(page, "file");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("a.save")]);
  seen.saved = [download.suggestedFilename(), readFileSync(await download.path(), "utf-8")];
  await page.setInputFiles("#file", settings.brokenCsv);
  await page.waitForSelector("#file-result .error");
  seen.broken = await page.innerText("#file-result");
  await page.context().close();
}

async function modelTab() {
  const page = await open();
  await page.waitForSelector("#main:not([hidden])");
  if (models.length > 1) await page.selectOption("#model", settings.cardModel);
  await page.click("#tab-model");
  await page.waitForFunction(() => [...document.querySelectorAll("#panel-model img")].every((image) => image.naturalWidth));
  seen.card = await page.innerText("#panel-model");
  seen.plots = await page.$$eval("#panel-model img", (images) => images.map((image) => image.alt));
  seen.examples = await page.$$eval("#examples button", (buttons) => buttons.map((button) => button.textContent));
  await inspect(page, "model");
  await picture(page, "model", false);
  await page.context().close();
}

async function compare() {
  if (models.length < 2) return;
  const page = await open();
  await page.waitForSelector("#main:not([hidden])");
  await page.click("#tab-compare");
  const [first, second] = settings.compared;
  await page.selectOption("#first", first);
  await page.selectOption("#second", second);
  await page.fill("#compare-text", settings.texts[first]);
  await page.press("#compare-text", "Control+Enter");
  await page.waitForSelector("#compared .card");
  seen.compared = await page.innerText("#compared");
  await inspect(page, "compare");
  await picture(page, "compare");
  await page.context().close();
}

async function key() {
  if (!settings.keyUrl) return;
  const page = await open();
  await page.goto(settings.keyUrl);
  await page.waitForSelector("#key-form:not([hidden])");
  await inspect(page, "key");
  await page.fill("#key", "wrong");
  await page.press("#key", "Enter");
  await page.waitForSelector("#problem:not([hidden])");
  await page.fill("#key", settings.key);
  await page.press("#key", "Enter");
  await page.waitForSelector("#main:not([hidden])");
  await page.fill("#text", "good food");
  await page.press("#text", "Control+Enter");
  await page.waitForSelector("#answer .card");
  seen.withKey = await page.innerText("#answer");
  await page.click("#forget");
  await page.waitForSelector("#key-form:not([hidden])");
  await page.context().close();
}

try {
  for (const step of [textOfEveryModel, narrowDarkAndChinese, keyboard, file, modelTab, compare, key]) await step();
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
