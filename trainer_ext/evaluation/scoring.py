"""Scoring a model on labelled rows: the one way in which train, export and predict evaluate."""

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from trainer_ext.inference.predictor import Predictor
from trainer_ext.tasks.outputs import ScoredRows


def score(
    predictor: Predictor,
    texts: Sequence[Any],
    labels: Sequence[Any],
    description: str = "scoring",
    bar: bool = True,
) -> ScoredRows:
    """Score a predictor on texts with encoded labels, with a progress bar.

    Raises:
        RunError: for outputs that are not finite numbers.
    """
    task = predictor.task
    outputs = predictor.logits_iter(texts)
    rows = tqdm(outputs, total=len(texts), desc=description, unit="row", disable=not bar)
    logits = task.stack(list(rows))
    true = task.stack_labels(labels)
    # Before the metrics: those of NaN may look like those of a poor model.
    task.check_finite(logits)
    metrics = task.compute_metrics(logits, true) | task.calibration_metrics(logits, true)
    return {"metrics": metrics, "logits": logits, "labels": true}
