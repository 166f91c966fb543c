// Colours of classes. A colour never stands alone: the name of the class is always beside it.

const COLOURS = 8;
// Polarities have the colours that readers expect, which red-green blindness keeps apart too (blue-green and orange).
const POLARITIES = [
  ["none", /^(not[ _-]?mentioned|unmentioned|none|n\/a|未提及|无)$/i],
  ["good", /^(pos(itive)?|good|正(面|向)?|好评?|积极)$/i],
  ["bad", /^(neg(ative)?|bad|负(面|向)?|差评?|消极)$/i],
  ["flat", /^(neutral|mixed|ok|中(性|立|评)?|一般)$/i],
];

// The CSS class of a name's colour; names that are no polarity get the colours in turn.
export function toneOf(name, index) {
  const found = POLARITIES.find(([, pattern]) => pattern.test(name));
  return found ? `tone-${found[0]}` : `tone-${index % COLOURS}`;
}

// Whether a class says that there is nothing to say.
export const saysNothing = (name) => toneOf(name, 0) === "tone-none";
