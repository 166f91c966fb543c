// Requests to the server that the page came from: the routes of the API, under its limits and with its key.

const KEY = "trainer-ext-key";

// Gone when the tab is closed; some browsers refuse to keep anything.
export function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function storeKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // It is asked for again.
  }
}

// A header holds bytes: those of a key beyond ASCII are sent as UTF-8, as curl sends them.
const asBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

export class Refused extends Error {
  // reason: the message without the place in the body.
  constructor(status, message, retryAfter = 1, reason = message) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

// Return the response to a request, or throw Refused; status 0: the server cannot be reached.
async function send(path, body, signal) {
  const headers = {};
  if (storedKey()) headers.Authorization = `Bearer ${asBytes(storedKey())}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, String(error.message));
  }
  if (response.ok) return response;
  // A proxy in front of the server may answer with anything.
  const content = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get("retry-after")) || 1;
  const message = content.error ?? response.statusText;
  throw new Refused(response.status, message, retryAfter, content.details?.[0]?.reason);
}

export const get = async (path) => (await send(path)).json();
export const getBlob = async (path) => (await send(path)).blob();

export async function post(path, body, signal) {
  const response = await send(path, body, signal);
  return {
    content: await response.json(),
    tokens: Number(response.headers.get("x-compute-tokens")),
    milliseconds: Number(response.headers.get("x-total-time")),
  };
}
