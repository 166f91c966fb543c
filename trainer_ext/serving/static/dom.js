// Building elements. Texts become text nodes, never HTML: nothing that a model, a file or a card says is run.

export const byId = (id) => document.getElementById(id);

// Make an element: el("p", { class: "hint" }, "text", el("b", {}, "more")). Children that are null are left out.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value != null) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

// A table with a header row. Cells are texts, numbers or elements; the first cell of a row is its header.
export function table(headers, rows, caption) {
  const head = el("tr", {}, headers.map((name) => el("th", { scope: "col" }, name)));
  const body = rows.map(([first, ...others]) =>
    el("tr", {}, el("th", { scope: "row" }, first ?? ""), others.map((cell) => el("td", {}, cell ?? ""))),
  );
  return el("table", {}, caption ? el("caption", {}, caption) : null, el("thead", {}, head), el("tbody", {}, body));
}

// What is wider than a phone scrolls by itself, also with the keyboard.
export const scrolling = (label, ...children) =>
  el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, children);

// A name such as price_level may be broken behind an underscore, rather than anywhere.
export const breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, el("wbr")]);

export const hiddenText = (text) => el("span", { class: "for-readers" }, text);

// Four digits as the command line shows them, or a share in percent.
export const rounded = (number) => (Number.isInteger(number) ? String(number) : String(Number(number.toPrecision(4))));
export const percent = (share) => `${(100 * share).toFixed(1)}%`;
