"""The gate: the same labelled rows through PyTorch, ONNX and INT8. Nothing is exported on trust."""

from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.evaluation.scoring import score
from trainer_ext.export.latency import latencies_ms
from trainer_ext.inference import Predictor
from trainer_ext.tasks import Task

# Logit differences are judged in units of the logits' spread (their standard deviation; in regression each target's, of
# scores or labels, whichever is larger), so that neither the labels' unit nor a model's confidence decides.
ONNX_TOLERANCE = 1e-3  # of the largest difference: float32 ONNX computes the same
INT8_TOLERANCE = 0.1  # of the root mean square: no row or two decide; good INT8 has 0.005 to 0.08, overflowing more
FLOAT32_STEPS = (
    1e-3  # of the largest logit: the least spread, as rounding grows with the size of a number
)
LATENCY_TEXTS = 60


@dataclass
class Variant:
    """One line of the report. Differences and agreement are against PyTorch; latency is p50 at batch 1, 1 thread.

    The relative differences are in units of the spread of PyTorch's logits, of the worst head or target.
    """

    name: str
    file: str
    bytes: int
    metric: float
    max_logit_diff: float = 0.0
    mean_logit_diff: float = 0.0
    max_relative_diff: float = 0.0
    rms_relative_diff: float = 0.0
    label_agreement: float = 1.0
    latency_ms_p50: float = 0.0
    setting: str = ""
    good: bool = True
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in export_report.json."""
        return asdict(self)


def run_variant(
    name: str, file: Path, predictor: Predictor, rows: tuple[list, list], reference: Any
) -> tuple[Variant, Any]:
    """Score one variant on (texts, labels) and compare its logits (of all heads) with the reference's; returns both."""
    task: Task = predictor.task
    scored = score(predictor, *rows, description=f"gate: {name}")
    logits = scored["logits"]
    variant = Variant(name, file.name, file.stat().st_size, scored["metrics"][task.default_metric])
    if reference is not None:
        difference = np.abs(task.flat(logits) - task.flat(reference))
        variant.max_logit_diff = float(difference.max())
        variant.mean_logit_diff = float(difference.mean())
        variant.label_agreement = task.agreement(logits, reference)
        relative = relative_differences(task, logits, reference, scored["labels"])
        variant.max_relative_diff = max(float(part.max()) for part in relative)
        variant.rms_relative_diff = max(float(np.sqrt((part**2).mean())) for part in relative)
    return variant, logits


def relative_differences(task: Task, logits: Any, reference: Any, labels: Any) -> list[np.ndarray]:
    """|logits - reference| over the spread, for each part of the logits that has a scale of its own."""
    parts = zip(
        task.parts(logits), task.parts(reference), task.spreads(reference, labels), strict=True
    )
    return [
        np.abs(own - other) / at_least_rounding(spread, other)
        for own, other, spread in parts
        if other.size
    ]


def at_least_rounding(spread: float, values: np.ndarray) -> float:
    """The spread, or what float32 can tell apart in numbers of this size; 1 where all are 0."""
    return max(spread, FLOAT32_STEPS * float(np.abs(values).max())) or 1.0


def judge_onnx(variant: Variant) -> None:
    """ONNX must equal PyTorch."""
    if not variant.max_relative_diff <= ONNX_TOLERANCE:
        variant.good = False
        variant.why = (
            f"logits differ from PyTorch by {variant.max_relative_diff:.2g} of their spread, "
            f"more than {ONNX_TOLERANCE:g}"
        )


def judge_int8(
    variant: Variant,
    pytorch: Variant,
    max_metric_drop: float,
    greater_is_better: bool = True,
    unit: float = 1.0,
) -> None:
    """INT8 may lose `max_metric_drop` points of the task's metric, and its logits must be near to PyTorch's.

    A point is a hundredth of `unit`, what the metric is measured in: 1 for shares, the labels' standard deviation for
    errors, which lose by growing.
    """
    drop = 100 * (pytorch.metric - variant.metric) / unit * (1 if greater_is_better else -1)
    if not variant.rms_relative_diff <= INT8_TOLERANCE:
        variant.good = False
        variant.why = (
            f"logits differ from PyTorch by {variant.rms_relative_diff:.2g} of their spread (root mean square), "
            f"more than {INT8_TOLERANCE:g}"
        )
    if not drop <= max_metric_drop:
        variant.good = False
        verb = "drops" if greater_is_better else "grows"
        variant.why = f"the metric {verb} by {drop:.2f} points, more than {max_metric_drop:g}"


def add_latencies(variants: list[Variant], predictors: dict[str, Predictor], texts: list) -> None:
    """Fill in p50 at batch 1, measured side by side over a spread of the texts."""
    step = max(1, len(texts) // LATENCY_TEXTS)
    times = latencies_ms(predictors, [[text] for text in texts[::step][:LATENCY_TEXTS]])
    for variant in variants:
        variant.latency_ms_p50 = round(float(np.median(times[variant.name])), 3)


def choose(variants: list[Variant]) -> str:
    """The last (smallest) variant of those before the first that is not good: each is made of the one before it."""
    return list(takewhile(lambda variant: variant.good, variants))[-1].name
