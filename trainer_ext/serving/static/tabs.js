// Tabs as the ARIA Authoring Practices have them: one stop of the Tab key, arrows between them.

import { byId } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

const allTabs = () => [...byId("tabs").querySelectorAll("[role=tab]")].filter((tab) => !tab.hidden);

// Show the panel of a tab, and hide the others.
export function openTab(chosen) {
  for (const tab of byId("tabs").querySelectorAll("[role=tab]")) {
    const isChosen = tab === chosen;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !isChosen;
  }
}

export function startTabs() {
  const tabs = byId("tabs");
  tabs.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) openTab(tab);
  });
  tabs.addEventListener("keydown", (event) => {
    const shown = allTabs();
    const place = shown.indexOf(document.activeElement);
    let next = null;
    if (event.key in STEPS) next = shown[(place + STEPS[event.key] + shown.length) % shown.length];
    if (event.key === "Home") next = shown[0];
    if (event.key === "End") next = shown[shown.length - 1];
    if (!next) return;
    event.preventDefault();
    openTab(next);
    next.focus();
  });
  openTab(byId("tab-text"));
}
