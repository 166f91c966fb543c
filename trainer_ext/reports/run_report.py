"""The pictures of a run, in `plots/` beside the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer_ext.reports import plots
from trainer_ext.tasks import Task
from trainer_ext.tasks.figures import ConfusionMatrix, Figure, Scatter, ScoreBars
from trainer_ext.tasks.outputs import ScoredRows


def write_plots(
    folder: Path,
    task: Task,
    history: list[dict[str, Any]],
    best_step: int | None,
    scored: ScoredRows | None,
) -> None:
    """Draw the learning curves, with a mark at the best step, and the pictures that the task has of its predictions.

    Args:
        folder: of the pictures.
        task: of the model.
        history: what the Trainer logged.
        best_step: None: the model is not the best one.
        scored: `labels`, `logits` and `metrics` of the validation rows; None without any.
    """
    plots.learning_curves(history, task.default_metric, best_step, folder / "learning_curves.png")
    # Without validation rows only the training loss is left to draw.
    if scored is not None:
        write_figures(folder, task, scored)


def write_figures(folder: Path, task: Task, scored: ScoredRows) -> None:
    """Draw the pictures that the task has of its predictions."""
    for figure in task.figures(scored):
        draw(figure, task.label_space.classes, folder / figure.file_name)


def draw(figure: Figure, classes: Sequence[str], path: Path) -> None:
    """Draw a picture that a task described."""
    match figure:
        case ConfusionMatrix():
            plots.confusion_matrix(figure.true, figure.predicted, classes, path)
        case ScoreBars():
            plots.bars(figure.scores, figure.mean, figure.title, path)
        case Scatter():
            plots.scatter(figure.true, figure.predicted, figure.targets, path)
