"""Load on loopback, side by side: `python benchmarks/serving_load.py` (needs Flask and wrk).

TinyBERT's shape (4 x 312, hardly trained) answers clauses of 4 to 14 characters, one a request, from two servers:

- what tutorials do, the 1.00 of the table: Flask's own server with a thread a request, a plain export to ONNX,
  `quantize_dynamic`, every text padded to 128 tokens, ONNX Runtime's own settings;
- `serve.py` on the folder that `export.py` writes.

wrk keeps 1, 8 and 64 connections busy. The servers take turns, each alone with the load generator, which shares their
cores; figures are medians over the rounds. An answer that is not 200 stops the run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from side_by_side import export_plain, take_evenly
from small_model import ROOT, make_small_model, read_clauses

import trainer_ext  # noqa: F401  (registers the model class with transformers and Optimum)
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table

CLIENTS = (1, 8, 64)
PLAIN_PORT, OUR_PORT = 8701, 8702
# wrk runs it: each request sends the next text, and the last line of its output is JSON.
SCRIPT = """
local bodies = {}
local number = 0
function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, line)
  end
end
function request()
  number = number % #bodies + 1
  return bodies[number]
end
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('{"rate": %f, "p50": %f, "p99": %f, "failed": %d}\\n',
    summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
"""

Figures = dict[str, float]


def serve_plain(folder: Path) -> None:
    """Serve the plain export with Flask, as tutorials do."""
    import numpy as np
    import onnxruntime
    from flask import Flask, jsonify, request
    from side_by_side import Inputs

    session = onnxruntime.InferenceSession(str(folder / "plain/model_quantized.onnx"))
    names = [item.name for item in session.get_inputs()]
    inputs = Inputs(folder, padded=True)
    app = Flask(__name__)

    @app.post("/predict")
    def predict():
        text = request.get_json()["text"]
        arrays = inputs(text)
        (logits,) = session.run(None, {name: arrays[name] for name in names})
        exponents = np.exp(logits[0] - logits[0].max())
        best = int(exponents.argmax())
        confidence = float(exponents[best] / exponents.sum())
        return jsonify(text=text, pred_class=best, confidence=confidence, status=200)

    import logging

    logging.getLogger("werkzeug").disabled = True
    app.run(port=PLAIN_PORT, threaded=True)


@contextmanager
def running(command: Sequence[object], port: int) -> Iterator[None]:
    """Run a server for the length of a block."""
    # Its own choice of threads, whatever this process was told.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int) -> None:
    """Wait until a server answers."""
    body = json.dumps({"text": "好"}).encode()
    headers = {"Content-Type": "application/json"}
    for _ in range(600):
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, headers)
            urllib.request.urlopen(request, timeout=10).read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no server answers on port {port}")


def load(port: int, clients: int, seconds: float, folder: Path) -> Figures:
    """Keep so many connections busy; returns requests per second, and milliseconds."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "-s", folder / "load.lua"]
    url = f"http://127.0.0.1:{port}/predict"
    command += [url, "--", folder / "bodies.jsonl"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    if figures["failed"]:
        raise SystemExit(f"port {port}, {clients} clients: {figures['failed']:.0f} failed")
    return figures


def medians(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def main() -> None:
    """Make the model, let the servers take turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs/serving_load")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="only serve the plain export")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.plain:
        serve_plain(folder)
        return
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    _, export = make_small_model(folder)
    if not (folder / "plain/model_quantized.onnx").is_file():
        export_plain(folder)
    bodies = [json.dumps({"text": text}) + "\n" for text in take_evenly(read_clauses(), 1000)]
    (folder / "bodies.jsonl").write_text("".join(bodies), encoding="utf-8")
    (folder / "load.lua").write_text(SCRIPT, encoding="utf-8")
    plain = [__file__, "--plain", "--folder", folder]
    ours = ["serve.py", "--model", export, "--port", OUR_PORT, "--workers", options.workers]
    measured: dict[tuple[int, int], list[Figures]] = {}
    for _ in range(options.rounds):
        for command, port in ((plain, PLAIN_PORT), (ours, OUR_PORT)):
            with running(command, port):
                load(port, 8, 1, folder)  # warm up
                for clients in CLIENTS:
                    figures = load(port, clients, options.seconds, folder)
                    measured.setdefault((port, clients), []).append(figures)
    print(instruction_set(), f"{os.cpu_count()} cores, {options.rounds} rounds")
    rows = []
    for clients in CLIENTS:
        theirs = medians(measured[PLAIN_PORT, clients])
        own = medians(measured[OUR_PORT, clients])
        for name, figures in (("Flask", theirs), ("serve.py", own)):
            ratio = figures["rate"] / theirs["rate"]
            cells = [f"{figures[key]:.1f}" for key in ("rate", "p50", "p99")]
            rows.append([str(clients), name, *cells, f"{ratio:.2f}"])
    headers = ["clients", "server", "requests/s", "p50 ms", "p99 ms", "times as many"]
    print(table(rows, headers, decimals=2))


if __name__ == "__main__":
    main()
