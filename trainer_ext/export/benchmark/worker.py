"""One variant in a process of its own: `python -m trainer_ext.export.benchmark.worker JOB`, started by `process.py`.

It answers each line of standard input, a request in JSON, with a line in JSON: `{"length": 16, "batch_size": 8}` with
the seconds of one run, `{"memory": true}` with the peak memory of the process. It ends with its input.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from trainer_ext.errors import describe_error

STATUS = Path("/proc/self/status")
KIB = 1024
# A loaded export moves to large pages after its 64th run (`inference/onnx_session.py`), which takes as long as dozens
# of runs and happens once: not while it is measured. All variants begin with as many.
SETTLING_RUNS = 70


@dataclass(frozen=True)
class Job:
    """What a worker runs.

    Attributes:
        folder: of the model.
        file: in it.
        threads: of one run, or callers that share a batch out.
        rows: a JSON file with token ids, by length.
        plain: whether the file is run by ONNX Runtime with its own settings, as tutorials do; else by the predictor.
        padded_to: tokens that every text is padded to, of a plain file.
        pad_token_id: what it is padded with.
        task: of a checkpoint of plain transformers.
        trust_remote_code: whether code that a checkpoint brings may be run.
    """

    folder: str
    file: str
    threads: int
    rows: str
    plain: bool = False
    padded_to: int | None = None
    pad_token_id: int = 0
    task: str | None = None
    trust_remote_code: bool = False


# Answers one batch of rows of token ids with the outputs of its runs.
Answer = Callable[[Sequence[list[int]]], Any]


def predictor_answer(job: Job) -> tuple[Answer, str]:
    """Return what answers as `predict.py` does, and what that is."""
    from trainer_ext.inference.loading import load_single  # a plain file is run without it

    predictor = load_single(
        job.folder,
        job.threads,
        "cpu",
        file_name=job.file,
        trust_remote_code=job.trust_remote_code,
        task=job.task,
        # The float model in its place would be measured twice.
        on_mismatch="ignore",
    )
    return predictor.run_rows, f"{predictor.description}, by {type(predictor.session).__name__}"


def plain_answer(job: Job) -> tuple[Answer, str]:
    """Return what runs a file with ONNX Runtime's own settings, and what that is."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.log_severity_level = 3  # errors only
    # Its threads would go on spinning for a while, on the cores that the next variant is measured on.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    path = str(Path(job.folder) / job.file)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def answer(rows: Sequence[list[int]]) -> Any:
        # All rows of a batch have one length.
        length = len(rows[0])
        width = job.padded_to or length
        shape = (len(rows), width)
        input_ids = np.full(shape, job.pad_token_id, np.int64)
        input_ids[:, :length] = rows
        attention_mask = np.zeros(shape, np.int64)
        attention_mask[:, :length] = 1
        arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": np.zeros(shape, np.int64),
        }
        return session.run(None, {name: arrays[name] for name in names})

    return answer, f"{job.file} in ONNX Runtime"


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    # Not `ru_maxrss`, if it can be helped: Linux counts in what the parent had when it started this process.
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return KIB * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes.
    return peak if sys.platform == "darwin" else KIB * peak


def take_standard_output() -> TextIO:
    """Return a file for the replies; what libraries print goes to standard error from here on."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def serve(job: Job, requests: TextIO, reply: Callable[[dict[str, Any]], None]) -> None:
    """Load the variant, let it settle, say that it is ready, and answer requests."""
    load = plain_answer if job.plain else predictor_answer
    answer, runs_on = load(job)
    rows = json.loads(Path(job.rows).read_text(encoding="utf-8"))
    shortest = rows[min(rows, key=int)]
    for _ in range(SETTLING_RUNS):
        answer(shortest[:1])
    reply({"runs_on": runs_on})
    for line in requests:
        request = json.loads(line)
        if request.get("memory"):
            reply({"peak_memory_bytes": peak_memory()})
            continue
        batch = rows[str(request["length"])][: request["batch_size"]]
        start = time.perf_counter()
        answer(batch)
        reply({"seconds": time.perf_counter() - start})


def main() -> None:
    """Serve the job in the first argument; an error is the last reply."""
    # Ctrl-C reaches every process of the terminal. The parent decides, and closes this one's input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = take_standard_output()

    def reply(content: dict[str, Any]) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    try:
        serve(Job(**json.loads(sys.argv[1])), sys.stdin, reply)
    except Exception as error:  # each runtime has types of its own
        reply({"error": describe_error(error)})


if __name__ == "__main__":
    main()
