// Answering for many texts: in parts that fit into one request, two on their way at a time.

import { Refused } from "./client.js";

// While one part is answered, the next one waits in the server already.
const AT_ONCE = 2;
// Fewer than a request may hold: progress is seen, and other clients get their turn in between.
const TEXTS = 32;
const LOST_TRIES = 3;
// Of a body beside its texts.
const SPARE_BYTES = 200;

const encoder = new TextEncoder();
const bytesOf = (text) => encoder.encode(JSON.stringify(text)).length + 1;

// Group the numbers of texts into parts that one request may hold: at most so many texts, and bytes of its body.
export function partsOf(numbers, texts, limits) {
  const parts = [];
  let part = [];
  let bytes = 0;
  const most = Math.min(TEXTS, limits.texts);
  for (const number of numbers) {
    const size = bytesOf(texts[number]);
    if (part.length && (part.length === most || bytes + size > limits.body - SPARE_BYTES)) {
      parts.push(part);
      part = [];
      bytes = 0;
    }
    part.push(number);
    bytes += size;
  }
  if (part.length) parts.push(part);
  return parts;
}

// Answer for all texts of `numbers`.
//   ask(texts): one request; throws Refused.
//   done(numbers, content): a part is answered. failed(number, error): this text alone has no answer.
//   busy(seconds): the server is full, and this part waits. sleep(seconds): waits, and throws if it is stopped.
// Throws what concerns every text: a key that is wrong, a server that is gone, a user who stopped.
export async function answerAll(numbers, texts, limits, { ask, done, failed, busy, sleep }) {
  const waiting = partsOf(numbers, texts, limits);

  async function answer(part) {
    for (let tries = 1; ; ) {
      try {
        done(part, await ask(part.map((number) => texts[number])));
        return;
      } catch (error) {
        if (!(error instanceof Refused) || error.status === 401 || error.status === 404) throw error;
        if (error.status === 503 || error.status === 429) {
          busy(error.retryAfter);
          await sleep(error.retryAfter);
        } else if (error.status === 0) {
          if (tries++ === LOST_TRIES) throw error;
          await sleep(1);
        } else if (part.length === 1) {
          failed(part[0], error);
          return;
        } else {
          // One of them is wrong, or all together are too slow: the others get their answers in smaller parts.
          const middle = part.length >> 1;
          await answer(part.slice(0, middle));
          await answer(part.slice(middle));
          return;
        }
      }
    }
  }

  async function worker() {
    try {
      while (waiting.length) await answer(waiting.shift());
    } catch (error) {
      // The other worker begins nothing new.
      waiting.length = 0;
      throw error;
    }
  }

  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
