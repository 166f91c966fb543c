// Ask the server for some texts: node predict.mjs "a good film" "a dull one" (Node 18 or newer, or a browser).

const SERVER = process.env.SERVER ?? 'http://127.0.0.1:8000';
const TRIES = 4;

/** Return one answer for each text, in order; try again while the server is full. */
async function predict(texts) {
  const headers = { 'Content-Type': 'application/json' };
  if (process.env.TRAINER_EXT_API_KEY) {
    headers.Authorization = `Bearer ${process.env.TRAINER_EXT_API_KEY}`;
  }
  const body = JSON.stringify({ texts });
  for (let left = TRIES - 1; ; left--) {
    const response = await fetch(`${SERVER}/predict`, { method: 'POST', headers, body });
    if (response.ok) return response.json();
    if (response.status !== 503 || left === 0) {
      throw new Error(`${response.status}: ${await response.text()}`);
    }
    const seconds = Number(response.headers.get('Retry-After') ?? 1);
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

for (const answer of await predict(process.argv.slice(2))) {
  console.log(JSON.stringify(answer));
}
