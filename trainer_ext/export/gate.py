"""The gate: the same labelled rows through PyTorch, ONNX and INT8. Nothing is exported on trust."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.evaluation.scoring import score
from trainer_ext.export.bootstrap import Loss, measure_loss
from trainer_ext.export.latency import latencies_ms
from trainer_ext.export.texts import evenly_spaced
from trainer_ext.inference import Predictor
from trainer_ext.tasks import Task

# Logit differences are judged in units of the logits' spread (their standard deviation; in regression each target's, of
# scores or labels, whichever is larger), so that neither the labels' unit nor a model's confidence decides.
ONNX_TOLERANCE = 1e-3  # of the largest difference: float32 ONNX computes the same
# Of the root mean square, so that no row or two decide. Measured: good INT8 has 0.005 to 0.08, overflowing INT8 more.
INT8_TOLERANCE = 0.1
# Of the largest logit: the least spread that counts, as rounding grows with the size of a number.
FLOAT32_STEPS = 1e-3
LATENCY_TEXTS = 60


@dataclass
class Variant:
    """One line of the report: a file, what it scores, and how far its logits are from PyTorch's.

    Attributes:
        name: `pytorch`, `onnx` or `int8`.
        file: its name in the export's folder (of `pytorch` in the checkpoint's).
        bytes: its size.
        metric: the task's default metric on the evaluation rows.
        max_logit_diff, mean_logit_diff: absolute.
        max_relative_diff, rms_relative_diff: in units of the spread of PyTorch's logits, of the worst head or target.
        label_agreement: share of answers that are PyTorch's.
        latency_ms_p50: at batch 1, one thread.
        setting: how it was quantised.
        fp32_nodes: MatMul nodes that were left in FP32 because the gate asked for it.
        loss: what it loses on the evaluation rows against PyTorch, with bounds; None of PyTorch.
        loss_on_texts: the same on texts without labels; None if there are none, or labels decided already.
        dynamic_int8: whether activations are scaled at run time, so that prediction runs one text at a time.
        exact_without_vnni: whether no product of 8-bit weights can overflow 16 bits, so that CPUs without VNNI compute
            the same; read from the file.
        good: the verdict.
        why: the reason if it is not good.
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
    fp32_nodes: list[str] = field(default_factory=list)
    loss: Loss | None = None
    loss_on_texts: Loss | None = None
    dynamic_int8: bool = False
    exact_without_vnni: bool = False
    good: bool = True
    why: str = ""

    def reject(self, why: str) -> None:
        """Mark the variant as not good."""
        self.good = False
        self.why = why


def run_variant(
    name: str,
    file: Path,
    predictor: Predictor,
    rows: tuple[list[Any], list[Any]],
    reference: Any,
    allowed: float = 0.0,
) -> tuple[Variant, Any]:
    """Score one variant and compare its logits with the reference.

    Args:
        name: of the variant.
        file: that the predictor runs.
        predictor: answers with the variant.
        rows: texts and encoded labels.
        reference: PyTorch's logits of all heads on these rows; None for PyTorch itself.
        allowed: points of the metric that may be lost; `loss.p_value` is about a loss of more.

    Returns:
        The variant, not yet judged, and its logits.
    """
    task = predictor.task
    texts, labels = rows
    scored = score(predictor, texts, labels, description=f"gate: {name}")
    logits = scored["logits"]
    metric = scored["metrics"][task.default_metric]
    variant = Variant(name, file.name, file.stat().st_size, metric)
    if reference is not None:
        compare_logits(variant, task, logits, reference, scored["labels"])
        variant.loss = measure_loss(task, logits, reference, scored["labels"], allowed)
    return variant, logits


def compare_logits(variant: Variant, task: Task, logits: Any, reference: Any, labels: Any) -> None:
    """Fill in the differences between a variant's logits (N, *head_shape) and the reference's."""
    difference = np.abs(task.flat(logits) - task.flat(reference))
    variant.max_logit_diff = float(difference.max())
    variant.mean_logit_diff = float(difference.mean())
    variant.label_agreement = task.agreement(logits, reference)
    maxima = []
    root_mean_squares = []
    for part in relative_differences(task, logits, reference, labels):
        maxima.append(part.max())
        root_mean_squares.append(np.sqrt((part**2).mean()))
    # The worst part counts: a wrong head of few logits must not disappear beside a large one. np.max keeps NaN.
    variant.max_relative_diff = float(np.max(maxima))
    variant.rms_relative_diff = float(np.max(root_mean_squares))


def relative_differences(task: Task, logits: Any, reference: Any, labels: Any) -> list[np.ndarray]:
    """Return |logits - reference| over the spread, for each part of the logits that has a scale of its own."""
    differences = []
    parts = zip(
        task.parts(logits), task.parts(reference), task.spreads(reference, labels), strict=True
    )
    for own, other, spread in parts:
        if other.size:
            differences.append(np.abs(own - other) / at_least_rounding(spread, other))
    return differences


def at_least_rounding(spread: float, values: np.ndarray) -> float:
    """Return the spread, or what float32 can tell apart in numbers of this size; 1 if all are 0."""
    rounding = FLOAT32_STEPS * float(np.abs(values).max())
    return max(spread, rounding) or 1.0


# Both comparisons below are `not x <= limit`, because NaN must fail and every comparison with it is false.


def judge_onnx(variant: Variant) -> None:
    """Reject ONNX unless it equals PyTorch."""
    if not variant.max_relative_diff <= ONNX_TOLERANCE:
        variant.reject(
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
    """Reject INT8 if its logits are far off, or if it is shown to lose more than `max_metric_drop` points.

    Both count: on few rows a bad model may score as before by luck. What is shown is decided by the variant's `loss`,
    which knows of chance; without one by the two metrics alone.

    Args:
        variant: INT8, scored and compared.
        pytorch: what it is compared with.
        max_metric_drop: in points, hundredths of `unit`.
        greater_is_better: False for errors, which lose by growing.
        unit: what the metric is measured in: 1 for shares, the labels' standard deviation for errors.
    """
    judge_logits(variant)
    verb = "drops"
    if not greater_is_better:
        verb = "grows"
    if variant.loss is not None:
        judge_loss(variant, variant.loss, max_metric_drop, f"the metric {verb}")
        return
    points = 100 * (pytorch.metric - variant.metric) / unit
    if not greater_is_better:
        points = -points
    if not points <= max_metric_drop:
        variant.reject(f"the metric {verb} by {points:.2f} points, more than {max_metric_drop:g}")


def judge_logits(variant: Variant) -> None:
    """Reject a variant whose logits are further from PyTorch's than any good INT8's."""
    if not variant.rms_relative_diff <= INT8_TOLERANCE:
        variant.reject(
            f"logits differ from PyTorch by {variant.rms_relative_diff:.2g} of their spread "
            f"(root mean square), more than {INT8_TOLERANCE:g}"
        )


def judge_loss(variant: Variant, loss: Loss, allowed: float, what: str) -> None:
    """Reject a variant that loses more than is allowed beyond the reach of chance.

    Args:
        variant: to be judged.
        loss: measured on some rows.
        allowed: points.
        what: the beginning of the reason.
    """
    if loss.points is None or loss.low is None:
        return
    if not loss.low <= allowed:
        variant.reject(
            f"{what} by {loss.points:.2f} points, more than {allowed:g} "
            f"(at least {loss.low:.2f}, 95% sure on {loss.rows} rows)"
        )


def judge_on_texts(
    variant: Variant,
    task: Task,
    logits: Any,
    reference: Any,
    source: str,
    allowed: float,
) -> None:
    """Compare a variant with the float model on texts without labels, and reject it if it is shown to be far off there.

    The float model's own probabilities stand in for labels: a changed answer costs as much as it was surer of its own.

    Args:
        variant: gets `loss_on_texts`.
        task: of the model.
        logits: of the variant.
        reference: the float model's.
        source: what the texts are called.
        allowed: points that may be lost.
    """
    loss = measure_loss(task, logits, reference, None, allowed)
    variant.loss_on_texts = loss
    far = float(np.sqrt(mean_square(task, logits, reference)))
    if not far <= INT8_TOLERANCE:
        variant.reject(
            f"on {loss.rows} {source} logits differ from the float model by {far:.2g} of their spread "
            f"(root mean square), more than {INT8_TOLERANCE:g}"
        )
    what = f"on {source} the metric drops, by the float model's own probabilities,"
    judge_loss(variant, loss, allowed, what)


def mean_square(task: Task, logits: Any, reference: Any) -> float:
    """Return the mean squared difference of logits in units of their spread, of the worst head or target."""
    squares = []
    # The spread is the reference's own: there are no labels.
    for part in relative_differences(task, logits, reference, reference):
        squares.append((part**2).mean())
    # np.max keeps NaN.
    return float(np.max(squares))


def add_latencies(
    variants: Sequence[Variant],
    predictors: Mapping[str, Predictor],
    texts: Sequence[Any],
) -> None:
    """Fill in p50 at batch 1, measured side by side over a spread of the texts."""
    batches = [[text] for text in evenly_spaced(texts, LATENCY_TEXTS)]
    times = latencies_ms(predictors, batches)
    for variant in variants:
        variant.latency_ms_p50 = round(float(np.median(times[variant.name])), 3)


def choose(variants: Sequence[Variant]) -> str:
    """Return the name of the last (smallest) variant before the first that is not good.

    Each variant is made of the one before it, so that none is better than its predecessor.
    """
    good = list(takewhile(lambda variant: variant.good, variants))
    return good[-1].name
