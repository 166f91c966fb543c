"""What a W&B run shows of the validation rows: a confusion matrix, and a table of examples."""

from typing import Any

from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tracking.run import unharmed

MOST_CLASSES = 50  # a matrix of more is no picture
MOST_ROWS, MOST_CHARACTERS = 100, 500


def log_validation(run: Any, task: Task, items: list, scored: ScoredRows) -> None:
    """Log `confusion_matrix` (tasks with one class per answer) and `examples` of the best model.

    Args:
        run: the W&B run.
        task: of the model.
        items: the validation rows' texts, or their words.
        scored: `labels` and `logits` of these rows, as `evaluation.scoring.score` gives them.
    """
    with unharmed(run, "the tables of the validation rows"):
        run.log(media_of(task, items, scored))


def media_of(task: Task, items: list, scored: ScoredRows) -> dict[str, Any]:
    """The charts and tables by name."""
    import wandb

    media = {}
    pair = task.class_pairs(scored["labels"], scored["logits"])
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


def examples(task: Task, items: list, scored: ScoredRows) -> tuple[list[str], list[list]]:
    """Column names and up to `MOST_ROWS` rows of text, label and prediction; a pair of columns per aspect or target."""
    columns = task.example_columns
    true, predicted = task.true_and_predicted(scored["labels"], scored["logits"])
    rows = []
    for item, label, prediction in zip(items[:MOST_ROWS], true, predicted, strict=False):
        text = item if isinstance(item, str) else " ".join(item)
        cells = [*task.readable(label), *task.readable(prediction)]
        rows.append([text[:MOST_CHARACTERS], *cells])
    return ["text", *columns, *(f"{column} (predicted)" for column in columns)], rows
