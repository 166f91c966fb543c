"""What a W&B run shows of the validation rows: a confusion matrix, and a table of examples."""

from collections.abc import Sequence
from typing import Any

from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tracking.run import warn_if_it_fails

MOST_CLASSES = 50  # a matrix of more cannot be read
MOST_ROWS = 100
MOST_CHARACTERS = 500


def log_validation(run: Any, task: Task, items: list, scored: ScoredRows) -> None:
    """Log `confusion_matrix` (tasks with one class per answer) and `examples` of the best model.

    Args:
        run: the W&B run.
        task: of the model.
        items: the validation rows' texts, or their words.
        scored: `labels` and `logits` of these rows, as `evaluation.scoring.score` returns them.
    """
    with warn_if_it_fails(run, "the tables of the validation rows"):
        run.log(media_of(task, items, scored))


def media_of(task: Task, items: list, scored: ScoredRows) -> dict[str, Any]:
    """Return the charts and tables by name."""
    import wandb

    media: dict[str, Any] = {}
    pair = task.class_pairs(scored)
    classes = list(task.label_space.classes)
    if pair is not None and len(classes) <= MOST_CLASSES:
        true, predicted = pair
        media["confusion_matrix"] = wandb.plot.confusion_matrix(
            y_true=true.tolist(),
            preds=predicted.tolist(),
            class_names=classes,
            title="validation",
        )
    columns, rows = examples(task, items, scored)
    media["examples"] = wandb.Table(columns=distinct(columns), data=rows)
    return media


def distinct(header: Sequence[str]) -> list[str | int]:
    """Return column names that differ, which a table of W&B needs: the second `label` is `label (2)`."""
    names: list[str | int] = []
    for name in header:
        free = name
        number = 1
        while free in names:
            number += 1
            free = f"{name} ({number})"
        names.append(free)
    return names


def examples(task: Task, items: list, scored: ScoredRows) -> tuple[list[str], list[list[Any]]]:
    """Return column names and up to `MOST_ROWS` rows of text, labels and predictions."""
    columns = task.example_columns
    true, predicted = task.true_and_predicted(scored)
    rows = []
    for item, label, prediction in zip(items[:MOST_ROWS], true, predicted, strict=False):
        text = item if isinstance(item, str) else " ".join(item)
        # Labels and predictions have as many cells each: a pair for each aspect or target.
        cells = [*task.readable(label), *task.readable(prediction)]
        rows.append([text[:MOST_CHARACTERS], *cells])
    predicted_columns = [f"{column} (predicted)" for column in columns]
    return ["text", *columns, *predicted_columns], rows
