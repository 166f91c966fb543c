"""Scoring a model on labelled rows: the one way in which train, export and predict evaluate."""

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from trainer_ext.inference.predictor import Predictor


def score(
    predictor: Predictor,
    texts: Sequence,
    labels: Sequence,
    description: str = "scoring",
    bar: bool = True,
) -> dict[str, Any]:
    """`{"metrics", "logits", "labels"}` of a predictor on texts with encoded labels, with a progress bar."""
    rows = tqdm(
        predictor.logits_iter(texts),
        total=len(texts),
        desc=description,
        unit="row",
        disable=not bar,
    )
    logits, labels = predictor.task.stack(list(rows)), predictor.task.stack_labels(labels)
    task = predictor.task
    task.check_finite(logits)
    metrics = task.compute_metrics(logits, labels) | task.calibration_metrics(logits, labels)
    return {"metrics": metrics, "logits": logits, "labels": labels}
