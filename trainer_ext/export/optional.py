"""The optional stages: variants that are proven and reported, but never chosen for the user."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.export import gate
from trainer_ext.export.eval_rows import EvalRows
from trainer_ext.export.float16 import convert_to_float16, judge_float16
from trainer_ext.export.gate import Variant
from trainer_ext.export.ort_format import judge_ort_format, save_operators, save_ort_format
from trainer_ext.export.stages import Stages
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.single import SinglePredictor

Made = tuple[Variant, SinglePredictor]


def optional_variants(
    stages: Stages,
    folder: Path,
    proven: Sequence[Made],
    rows: EvalRows,
    reference: Any,
) -> list[Made]:
    """Run the optional stages that were asked for.

    Args:
        stages: which run, and their records.
        folder: of the export, with the files made so far.
        proven: ONNX and, if there is one, INT8, each with its predictor.
        rows: texts and labels.
        reference: PyTorch's logits on these rows.

    Returns:
        The variants, judged, each with its predictor.
    """
    made: list[Made] = []
    if stages.wanted("fp16"):
        with stages.run("fp16") as record:
            exported, _ = proven[0]
            path = convert_to_float16(folder / exported.file, folder)
            predictor = load_single(folder, 1, "cpu", file_name=path.name)
            variant, _ = gate.run_variant("fp16", path, predictor, rows, reference)
            judge_float16(variant)
            record.details["runs on"] = "CUDA; proven here on the CPU"
        made.append((variant, predictor))
    if stages.wanted("ort"):
        with stages.run("ort") as record:
            # INT8 is what prediction loads; without it, the float model.
            source, source_predictor = proven[-1]
            path = save_ort_format(folder / source.file)
            predictor = load_single(folder, 1, "cpu", file_name=path.name)
            variant, logits = gate.run_variant("ort", path, predictor, rows, reference)
            task = predictor.task
            before = task.flat(source_predictor.logits(rows.texts))
            difference = float(np.abs(task.flat(logits) - before).max())
            judge_ort_format(variant, source, difference)
            record.details["operators"] = save_operators(path)
        made.append((variant, predictor))
    return made
