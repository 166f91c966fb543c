// Model cards: the part of Markdown that they use, as a list of blocks, and these as elements. HTML stays text, and
// pictures and links to other places load nothing by themselves.

import { el, scrolling, table } from "./dom.js";

const FENCE = /^(```+|~~~+)/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^\s*(?:([-*+])|(\d+)[.)])\s+(.*)$/;
const RULE_OF_TABLE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|!\[([^\]]*)\]\([^)]*\)|\[([^\]]+)\]\(([^)\s]+)[^)]*\)/g;

// Split a card into its metadata (the lines between --- at its top) and its text.
export function splitCard(text) {
  const match = /^\ufeff?---\r?\n([^]*?)\r?\n---\r?\n?/.exec(text);
  return match ? { metadata: match[1], body: text.slice(match[0].length) } : { metadata: "", body: text };
}

// The texts of `widget:` in a card's metadata: the examples that the Hub shows, too.
export function widgetTexts(metadata) {
  const lines = metadata.split(/\r?\n/);
  const start = lines.findIndex((line) => /^widget:\s*$/.test(line));
  const texts = [];
  if (start < 0) return texts;
  for (const line of lines.slice(start + 1)) {
    if (/^\S/.test(line) && !line.startsWith("-")) break;
    const match = /^\s*-?\s*text:\s*(.+)$/.exec(line);
    if (match) texts.push(unquoted(match[1].trim()));
  }
  return texts;
}

function unquoted(value) {
  if (value.startsWith('"') && value.endsWith('"')) {
    try {
      return JSON.parse(value);
    } catch {
      return value.slice(1, -1);
    }
  }
  return value.startsWith("'") && value.endsWith("'") ? value.slice(1, -1).replaceAll("''", "'") : value;
}

// Return blocks: { kind: "heading" | "code" | "table" | "list" | "text", ... }.
export function parse(text) {
  const lines = text.split(/\r?\n/);
  const blocks = [];
  let place = 0;
  while (place < lines.length) {
    const [block, next] = blockAt(lines, place);
    if (block) blocks.push(block);
    place = next;
  }
  return blocks;
}

// Return the block that begins at a line, or null for a blank line, and the line behind it.
function blockAt(lines, start) {
  const line = lines[start];
  if (!line.trim()) return [null, start + 1];
  const fence = FENCE.exec(line);
  if (fence) {
    let end = start + 1;
    while (end < lines.length && !lines[end].startsWith(fence[1])) end++;
    return [{ kind: "code", text: lines.slice(start + 1, end).join("\n") }, end + 1];
  }
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, start + 1];
  if (line.includes("|") && RULE_OF_TABLE.test(lines[start + 1] ?? "") && lines[start + 1].includes("-")) {
    let end = start + 2;
    while (end < lines.length && lines[end].includes("|")) end++;
    return [{ kind: "table", header: cellsOf(line), rows: lines.slice(start + 2, end).map(cellsOf) }, end];
  }
  if (ITEM.test(line)) return listAt(lines, start);
  let end = start + 1;
  while (end < lines.length && lines[end].trim() && !startsBlock(lines[end])) end++;
  return [{ kind: "text", text: lines.slice(start, end).join(" ") }, end];
}

const startsBlock = (line) => FENCE.test(line) || HEADING.test(line) || ITEM.test(line);

// A backslash keeps a bar inside a cell.
const cellsOf = (line) =>
  line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.replaceAll("\\|", "|").trim());

function listAt(lines, start) {
  const isOrdered = ITEM.exec(lines[start])[2] !== undefined;
  const items = [];
  let end = start;
  while (end < lines.length && lines[end].trim()) {
    const match = ITEM.exec(lines[end]);
    if (match) items.push(match[3]);
    else if (/^\s/.test(lines[end])) items[items.length - 1] += ` ${lines[end].trim()}`;
    else break;
    end++;
  }
  return [{ kind: "list", isOrdered, items }, end];
}

// Show a card's text. `top` is the level of its first heading on the page.
export function showMarkdown(text, top) {
  return parse(text).map((block) => {
    switch (block.kind) {
      case "heading":
        return el(`h${Math.min(6, block.level + top - 1)}`, {}, inline(block.text));
      case "code":
        return el("pre", { tabindex: "0" }, el("code", {}, block.text));
      case "table":
        return scrolling(block.header.join(", "), table(block.header.map(inline), block.rows.map((row) => row.map(inline))));
      case "list":
        return el(block.isOrdered ? "ol" : "ul", {}, block.items.map((item) => el("li", {}, inline(item))));
      default:
        return el("p", {}, inline(block.text));
    }
  });
}

function inline(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(from, match.index));
    parts.push(inlineElement(match));
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return el("span", {}, parts);
}

function inlineElement([, code, strong, emphasis, picture, label, target]) {
  if (code !== undefined) return el("code", {}, code);
  if (strong !== undefined) return el("strong", {}, strong);
  if (emphasis !== undefined) return el("em", {}, emphasis);
  // The plots are below the card; other pictures would be requests to other servers.
  if (picture !== undefined) return el("em", {}, picture);
  // A relative address means a file of the folder, which the server does not give out.
  if (!/^https?:\/\//.test(target)) return el("span", {}, label);
  return el("a", { href: target, rel: "noopener noreferrer", target: "_blank" }, label);
}
