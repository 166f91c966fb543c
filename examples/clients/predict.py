"""Ask the server for some texts: `python predict.py "a good film" "a dull one"`. Needs the standard library only."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

SERVER = os.environ.get("SERVER", "http://127.0.0.1:8000")
TRIES = 4


def predict(texts: list[str]) -> list[dict]:
    """Return one answer for each text, in order; try again while the server is full."""
    headers = {"Content-Type": "application/json"}
    if "TRAINER_EXT_API_KEY" in os.environ:
        headers["Authorization"] = f"Bearer {os.environ['TRAINER_EXT_API_KEY']}"
    body = json.dumps({"texts": texts}).encode()
    for left in reversed(range(TRIES)):
        request = urllib.request.Request(f"{SERVER}/predict", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 503 or not left:
                raise SystemExit(f"{error.code}: {error.read().decode()}") from None
            time.sleep(float(error.headers.get("Retry-After", 1)))
    raise AssertionError("the last try has answered or failed")


if __name__ == "__main__":
    for answer in predict(sys.argv[1:]):
        print(json.dumps(answer, ensure_ascii=False))
