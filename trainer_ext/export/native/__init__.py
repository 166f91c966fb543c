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

# Of INT8's own difference from PyTorch, root mean square. Where a number lies on the edge of two levels, the order of
# additions decides, and later layers amplify it: two runtimes differ by 0.1 to 0.3 of it.
LARGEST_SHARE = 0.5
# Of the spread of the logits, for an INT8 that hardly differs from PyTorch (seen: by 0.005 of the spread, and the two
# runtimes by 0.0026).
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
    expected = task.flat(int8.logits)
    difference = root_mean_square(task.flat(predictor.logits(rows.texts)) - expected)
    exact = task.flat(reference)
    allowed = max(LARGEST_SHARE * root_mean_square(expected - exact), FLOOR * float(exact.std()))
    details.update(
        {"compiled for": session.native_target, "difference": difference, "allowed": allowed}
    )
    # `not <=`, because NaN must not pass.
    is_beyond = not difference <= allowed
    if is_beyond or fails_probe(folder, predictor):
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
