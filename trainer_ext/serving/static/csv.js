// Reading and writing csv in the browser.

const DELIMITERS = [",", "\t", ";"];
// As trainer_ext/data/io/csv_writer.py has it: how cells begin that a spreadsheet would run.
const FORMULA = /^[\t\r ]*[=+\-@][^]*[(|!]/;

export class CsvError extends Error {
  // word: of dictionary.js; values: what it is filled with.
  constructor(word, values = {}) {
    super(word);
    this.word = word;
    this.values = values;
  }
}

// Return { text, encoding } of a file's bytes: UTF-8, UTF-16 with its mark, else GB18030, in which Excel saves Chinese.
export function decode(bytes) {
  const mark = bytes[0] << 8 | bytes[1];
  const names = mark === 0xfffe ? ["utf-16le"] : mark === 0xfeff ? ["utf-16be"] : ["utf-8", "gb18030"];
  for (const encoding of names) {
    try {
      return { text: new TextDecoder(encoding, { fatal: true }).decode(bytes), encoding };
    } catch {
      // Not this one.
    }
  }
  // Western European: every byte is a character.
  return { text: new TextDecoder("windows-1252").decode(bytes), encoding: "windows-1252" };
}

// Return the delimiter that splits the first line into most cells.
export function delimiterOf(text) {
  const end = text.search(/[\r\n]/);
  const line = end < 0 ? text : text.slice(0, end);
  const counts = DELIMITERS.map((mark) => line.split(mark).length);
  return DELIMITERS[counts.indexOf(Math.max(...counts))];
}

// Return { header, rows, delimiter } of a csv file's text; throw CsvError naming the row that is wrong.
export function parse(text) {
  const delimiter = delimiterOf(text);
  const [header, ...rows] = records(text, delimiter);
  if (!rows.length) throw new CsvError("csv_empty");
  rows.forEach((cells, index) => {
    // A row that is shifted would be answered for the wrong column.
    if (cells.length !== header.length) {
      throw new CsvError("csv_cells", { row: index + 1, cells: cells.length, columns: header.length });
    }
  });
  return { header, rows, delimiter };
}

// Split a text into records of cells; quoted cells may hold delimiters, line breaks and doubled quotes.
function records(text, delimiter) {
  const found = [];
  let cells = [];
  let cell = "";
  let isQuoted = false;
  let wasQuoted = false;
  let place = 0;
  const endRecord = () => {
    cells.push(cell);
    // A blank line is no row; a pair of quotes is an empty text.
    if (cells.length > 1 || cell !== "" || wasQuoted) found.push(cells);
    cells = [];
    cell = "";
    wasQuoted = false;
  };
  while (place < text.length) {
    const character = text[place];
    if (isQuoted) {
      if (character !== '"') cell += character;
      else if (text[place + 1] === '"') cell += text[++place];
      else isQuoted = false;
    } else if (character === '"' && cell === "") {
      isQuoted = true;
      wasQuoted = true;
    } else if (character === delimiter) {
      cells.push(cell);
      cell = "";
    } else if (character === "\n" || character === "\r") {
      if (character === "\r" && text[place + 1] === "\n") place++;
      endRecord();
    } else {
      cell += character;
    }
    place++;
  }
  if (isQuoted) throw new CsvError("csv_quote", { row: found.length });
  if (cell !== "" || cells.length || wasQuoted) endRecord();
  return found;
}

// Write rows of texts, numbers and nulls as csv, with the mark by which Excel knows UTF-8.
export function write(rows) {
  const lines = rows.map((cells) => cells.map(quoted).join(","));
  return `\ufeff${lines.join("\n")}\n`;
}

function quoted(cell) {
  if (cell == null) return "";
  if (typeof cell === "number") return String(cell);
  return `"${cell.replaceAll('"', '""')}"`;
}

export const isFormula = (cell) => typeof cell === "string" && FORMULA.test(cell);

// Return names for new columns that no column of the file has.
export function freeNames(names, taken) {
  const used = new Set(taken);
  return names.map((name) => {
    let free = name;
    while (used.has(free)) free = `predicted_${free}`;
    used.add(free);
    return free;
  });
}
