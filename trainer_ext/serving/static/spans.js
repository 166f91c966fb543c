// Cutting a text where its slots begin and end.

// Return the parts of a text in order: [{ text, slot }], slot is null between slots.
export function markedParts(text, slots) {
  // The server counts characters as Python does; JavaScript's own indices count those beyond U+FFFF twice.
  const characters = Array.from(text);
  const parts = [];
  let from = 0;
  const push = (end, slot) => {
    if (end > from) parts.push({ text: characters.slice(from, end).join(""), slot });
    from = Math.max(from, end);
  };
  for (const { slot, start, end } of [...slots].sort((one, other) => one.start - other.start)) {
    push(start, null);
    push(end, slot);
  }
  push(characters.length, null);
  return parts;
}
