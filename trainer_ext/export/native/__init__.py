"""The stage `native`: what the compiled encoder needs beside an INT8 file, written only if it answers alike."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.export.eval_rows import EvalRows
from trainer_ext.export.int8 import Int8Choice
from trainer_ext.export.latency import THREADS
from trainer_ext.export.native.functions import NotRecognised
from trainer_ext.export.native.write import write_native
from trainer_ext.inference.layout import NATIVE_FOLDER
from trainer_ext.inference.native import open_native
from trainer_ext.inference.probe import read_probe
from trainer_ext.inference.single import SinglePredictor

# How much further from PyTorch than ONNX Runtime's the answers may be, root mean square: 0.99 to 1.03 times on 200 rows
# and more, but up to 1.4 times by chance on a few rows of a model with random weights.
LARGEST_ERROR = 1.5
# How far from ONNX Runtime's, in units of INT8's own difference from PyTorch. Where a number lies on the edge of two
# levels, the order of additions decides, and later layers amplify it: two runtimes differ by 0.1 to 0.4 of it, and by
# up to 1.1 where attention is in bfloat16, though neither is nearer to PyTorch. Two errors of the same size that have
# nothing to do with each other would be 1.4 apart.
LARGEST_SHARE = 1.5
# Of the spread of the logits: enough for either, where INT8 hardly differs from PyTorch.
FLOOR = 1e-2


@dataclass
class Served:
    """What answers for INT8 after the stage, and what the stage found, for the report."""

    predictor: SinglePredictor
    details: dict[str, Any] = field(default_factory=dict)


def write_proven(folder: Path, int8: Int8Choice, rows: EvalRows, reference: Any) -> Served:
    """Write `native/` for the chosen INT8 file, and run the evaluation rows through it.

    Args:
        folder: of the export.
        int8: the chosen file, its predictor and its logits on these rows, of ONNX Runtime.
        rows: texts and labels.
        reference: PyTorch's logits on these rows.

    Returns:
        The native predictor; that of `int8` if the encoder is not recognised, answers otherwise, or cannot run here.
    """
    file = folder / int8.variant.file
    try:
        layers = write_native(file)
    except NotRecognised as error:
        return Served(int8.predictor, {"not recognised": str(error)})
    details: dict[str, Any] = {"layers": layers}
    session = open_native(file, THREADS, "cpu")
    if session is None:
        details["not run here"] = "no library is compiled for this CPU"
        return Served(int8.predictor, details)
    # The tokenizer is shared: both predictors cut texts alike.
    predictor = SinglePredictor(session, int8.predictor.tokenizer, int8.predictor.pipeline)
    task = predictor.task
    exact = task.flat(reference)
    expected = task.flat(int8.logits)
    answers = task.flat(predictor.logits(rows.texts))
    int8_error = root_mean_square(expected - exact)
    floor = FLOOR * float(exact.std())
    details.update(
        {
            "compiled for": session.native_target,
            "difference": root_mean_square(answers - expected),
            "allowed": max(LARGEST_SHARE * int8_error, floor),
            "error": root_mean_square(answers - exact),
            "allowed error": max(LARGEST_ERROR * int8_error, floor),
        }
    )
    # `<=`, because NaN must not pass.
    is_alike = details["difference"] <= details["allowed"]
    is_as_near = details["error"] <= details["allowed error"]
    if not (is_alike and is_as_near) or fails_probe(folder, predictor):
        shutil.rmtree(folder / NATIVE_FOLDER)
        details["left out"] = "it answers otherwise than ONNX Runtime"
        return Served(int8.predictor, details)
    return Served(predictor, details)


def fails_probe(folder: Path, predictor: SinglePredictor) -> bool:
    """Tell whether any row of probe.json is answered otherwise than was proven."""
    probe = read_probe(folder)
    if probe is None or not probe.covers("int8"):
        return False
    return probe.check(predictor, "int8", every_row=True) is not None


def root_mean_square(values: np.ndarray) -> float:
    """Return the root mean square of an array."""
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))
