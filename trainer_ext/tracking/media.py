"""What a W&B run shows of the validation rows: a confusion matrix, and a table of examples."""

from typing import Any

import numpy as np

from trainer_ext.tasks import Task
from trainer_ext.tracking.run import unharmed

MOST_CLASSES = 50  # a matrix of more is no picture
MOST_ROWS, MOST_CHARACTERS = 100, 500


def log_validation(run: Any, task: Task, items: list, scored: dict[str, Any]) -> None:
    """Log `confusion_matrix` (tasks with one class per answer) and `examples` of the best model.

    Args:
        run: the W&B run.
        task: of the model.
        items: the validation rows' texts, or their words.
        scored: `labels` and `logits` of these rows, as `inference.scoring.score` gives them.
    """
    with unharmed(run, "the tables of the validation rows"):
        run.log(media_of(task, items, scored))


def media_of(task: Task, items: list, scored: dict[str, Any]) -> dict[str, Any]:
    """The charts and tables by name."""
    import wandb

    media = {}
    pair = classes_of(task, scored)
    if pair is not None and len(task.label_space.classes) <= MOST_CLASSES:
        true, predicted = (classes.tolist() for classes in pair)
        names = list(task.label_space.classes)
        media["confusion_matrix"] = wandb.plot.confusion_matrix(
            y_true=true, preds=predicted, class_names=names, title="validation"
        )
    columns, rows = examples(task, items, scored)
    return media | {"examples": wandb.Table(columns=distinct(columns), data=rows)}


def distinct(header: list[str]) -> list[str]:
    """Column names that differ, which a table needs: the second `label` is `label (2)`."""
    names: list[str] = []
    for name in header:
        number, free = 1, name
        while free in names:
            number += 1
            free = f"{name} ({number})"
        names.append(free)
    return names


def classes_of(task: Task, scored: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """True and predicted class indices, of all aspects together; None for tasks without one class per answer."""
    labels, logits = scored["labels"], scored["logits"]
    if task.name == "joint":  # an intent that no training row has is no class
        return labels[0][labels[0] >= 0], logits[0].argmax(axis=-1)[labels[0] >= 0]
    if task.name in ("single_label", "multi_aspect"):
        return np.asarray(labels).ravel(), task.predictions(logits).ravel()
    return None


def examples(task: Task, items: list, scored: dict[str, Any]) -> tuple[list[str], list[list]]:
    """Column names and up to `MOST_ROWS` rows of text, label and prediction; a pair of columns per aspect or target."""
    if task.name == "joint":
        columns, cells = (
            ["intent"],
            [scored["labels"][0][:, None], scored["logits"][0].argmax(axis=-1)[:, None]],
        )
    else:
        columns = list(task.label_space.columns)
        cells = [np.asarray(scored["labels"]), task.predictions(scored["logits"])]
    count = min(MOST_ROWS, len(items))
    true, predicted = ([readable(task, row) for row in np.asarray(part)[:count]] for part in cells)
    if task.name == "multi_label":  # a list of names, whatever columns it was read from
        columns = ["labels"]
    texts = [item if isinstance(item, str) else " ".join(item) for item in list(items[:count])]
    rows = [
        [text[:MOST_CHARACTERS], *t, *p] for text, t, p in zip(texts, true, predicted, strict=True)
    ]
    return ["text", *columns, *(f"{column} (predicted)" for column in columns)], rows


def readable(task: Task, row: np.ndarray) -> list:
    """One row's labels or predictions as names (regression: numbers)."""
    if task.name == "regression":
        return [float(value) for value in row]
    classes = task.label_space.classes
    if task.name == "multi_label":
        return [", ".join(name for name, on in zip(classes, row, strict=True) if on)]
    return [classes[k] if k >= 0 else "(unseen)" for k in np.atleast_1d(row)]
