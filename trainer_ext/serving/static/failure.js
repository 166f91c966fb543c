// What the page says when a request has no answer.

import { Refused } from "./client.js";
import { byId, el } from "./dom.js";
import { say } from "./words.js";

// Return an element that says why; a key that is wrong is asked for again.
export function failure(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) askForKey();
  return el("p", { class: "error" }, reason(error));
}

export function reason(error) {
  if (error.status === 0) return say("unreachable");
  return error.status === 401 ? say("key_wrong") : `${error.status}: ${error.message}`;
}

export function askForKey() {
  byId("main").hidden = true;
  byId("key-form").hidden = false;
  byId("key").focus();
}
