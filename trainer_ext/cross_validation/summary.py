"""What all folds (or seeds) are together: joined predictions, mean and spread, weights for an ensemble."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.cross_fit import cross_fitted, with_own_decisions
from trainer_ext.cross_validation.tables import given_labels, predicted_labels
from trainer_ext.data.fold_table import ROW, FoldTable, row_ids, telling_id_column
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import texts_and_labels
from trainer_ext.evaluation.outputs import load_outputs
from trainer_ext.files import read_json, write_json
from trainer_ext.inference.combine import (
    combine,
    ensemble_task,
    fit_weights,
    inverse_loss_weights,
)
from trainer_ext.inference.folder import read_pipeline
from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows

Metrics = dict[str, float]


@dataclass(frozen=True)
class Scored:
    """Models and the rows each was validated on.

    Attributes:
        rows: the validated rows, in the order of the file.
        id_column: the column of their ids; None if they are numbered.
        ids: of these rows.
        folds: of these rows; None if that is not one number.
        parts: by model, the positions in `rows` of its validation rows.
    """

    rows: list[Row]
    id_column: str | None
    ids: list[str]
    folds: list[int] | None
    parts: dict[str, np.ndarray]


@dataclass(frozen=True)
class Outputs:
    """What the models answered on their validation rows.

    Attributes:
        tasks: by model; with thresholds of its own it decides by them.
        rows: by model, the output of each row.
        stacked: by model, the same as arrays (N, *head_shape).
        labels: by model, of these rows.
    """

    tasks: dict[str, Task]
    rows: dict[str, list[Any]]
    stacked: dict[str, Any]
    labels: dict[str, Any]


def scored_by_folds(table: FoldTable, rows: Sequence[Row]) -> Scored:
    """Return every original row, validated in its fold."""
    own = np.flatnonzero(table.original).tolist()
    # Augmented rows between the others take no place: positions count original rows alone.
    position = np.full(len(rows), -1)
    position[own] = np.arange(len(own))
    parts = {}
    for k in range(table.models):
        parts[f"fold-{k}"] = position[table.validation_rows(k)]
    folds = None
    # With repeats a row has a fold in each of them.
    if len(table.folds) == 1:
        folds = table.folds[0, own].tolist()
    scored = [rows[k] for k in own]
    ids = [table.ids[k] for k in own]
    return Scored(scored, table.id_column, ids, folds, parts)


def scored_by_seeds(names: Sequence[str], rows: list[Row], id_column: str | None) -> Scored:
    """Return every validation row, validated by every model."""
    id_column = telling_id_column(rows, id_column)
    ids = row_ids(rows, id_column)
    parts = dict.fromkeys(names, np.arange(len(rows)))
    return Scored(rows, id_column, ids, None, parts)


@dataclass(frozen=True)
class Joined:
    """What all models answer together.

    Attributes:
        summary: content of cv.json.
        task: of all models.
        items: inputs of the validated rows.
        scored: outputs and metrics on these.
    """

    summary: dict[str, Any]
    task: Task
    items: list[Any]
    scored: ScoredRows


def summarise(args: Arguments, scored: Scored, about: Mapping[str, Any]) -> Joined:
    """Write `oof.csv` and `cv.json` (for seeds `validation.csv` and `cv.json`), and return what is in them.

    Args:
        args: of all folds or seeds.
        scored: which rows each model was validated on.
        about: how the rows were divided.
    """
    folder = Path(args.training.output_dir)
    names = list(scored.parts)
    by_seeds = bool(args.folds.seeds)
    tasks = {name: read_pipeline(folder / name).task for name in names}
    whole = ensemble_task(names, list(tasks.values()))
    items, labels = texts_and_labels(scored.rows, args.data.text_column, whole)
    outputs = read_outputs(folder, tasks, whole, scored, labels)
    metrics = {name: model_metrics(folder / name) for name in names}
    # Seeds share their validation rows: there are no others to fit a seed's calibration on.
    if args.model.calibrate != "none" and not by_seeds:
        outputs = calibrate_across(outputs, args.model.calibrate, args.folds.folds)
        for name, task in outputs.tasks.items():
            logits = outputs.stacked[name]
            gold = outputs.labels[name]
            metrics[name] |= task.compute_metrics(logits, gold)
            metrics[name] |= task.calibration_metrics(logits, gold)
    row_tasks, joined = join(outputs, scored)
    predictions = "validation.csv" if by_seeds else "oof.csv"
    write_predictions(folder / predictions, scored, row_tasks, joined)
    whole = with_own_decisions(whole, row_tasks)
    all_logits = whole.stack(joined)
    all_labels = whole.stack_labels(labels)
    together = whole.compute_metrics(all_logits, all_labels)
    weights = model_weights(by_seeds, outputs)
    result = {
        "metric": whole.default_metric,
        "greater_is_better": whole.greater_is_better,
        "mean": over_models(metrics, np.mean),
        "std": over_models(metrics, sample_std),
        "ensemble" if by_seeds else "oof": together,
        "seeds" if by_seeds else "folds": metrics,
        "weights": dict(zip(names, weights, strict=True)),
        "validated_rows": len(scored.rows),
        "made": dict(about),
    }
    write_json(folder / "cv.json", result)
    of_rows: ScoredRows = {"metrics": together, "logits": all_logits, "labels": all_labels}
    return Joined(result, whole, items, of_rows)


def read_outputs(
    folder: Path,
    tasks: dict[str, Task],
    whole: Task,
    scored: Scored,
    labels: Sequence,
) -> Outputs:
    """Read what each model left of its validation rows; `labels` are those of all scored rows."""
    rows, stacked, own = {}, {}, {}
    for name, task in tasks.items():
        rows[name] = load_outputs(folder / name, task)
        stacked[name] = whole.stack(rows[name])
        of_part = [labels[k] for k in scored.parts[name]]
        own[name] = whole.stack_labels(of_part)
    return Outputs(tasks, rows, stacked, own)


def calibrate_across(outputs: Outputs, what: str, folds: int) -> Outputs:
    """Return the outputs with tasks whose calibration was fitted on the rows of other folds."""
    tasks = cross_fitted(outputs.tasks, outputs.stacked, outputs.labels, what, folds)
    return replace(outputs, tasks=tasks)


def join(outputs: Outputs, scored: Scored) -> tuple[list[Task], list]:
    """Return, for each row, the task and the output of all models together that were validated on it."""
    models: list[tuple[str, ...]] = [() for _ in scored.rows]
    answers: list[list] = [[] for _ in scored.rows]
    for name, positions in scored.parts.items():
        for position, output in zip(positions, outputs.rows[name], strict=True):
            models[position] += (name,)
            answers[position].append(output)
    # Rows of the same models share a task: with repeats there are as many as combinations of folds, not as rows.
    together: dict[tuple[str, ...], Task] = {}
    row_tasks, joined = [], []
    for names, several in zip(models, answers, strict=True):
        tasks = [outputs.tasks[name] for name in names]
        if names not in together:
            together[names] = ensemble_task(names, tasks)
        answer = combine(tasks, several)
        row_tasks.append(together[names])
        joined.append(answer)
    return row_tasks, joined


def model_weights(by_seeds: bool, outputs: Outputs) -> list[float]:
    """Return the weights of the models for `--ensemble weighted`.

    Seeds saw the same rows, on which their weights are fitted. No row is out of fold for two folds, so each of these is
    weighed by the loss on its own.
    """
    if by_seeds:
        tasks = list(outputs.tasks.values())
        stacked = list(outputs.stacked.values())
        shared_labels = next(iter(outputs.labels.values()))
        return fit_weights(tasks, stacked, shared_labels)
    losses = []
    for name, task in outputs.tasks.items():
        loss = task.ensemble_loss(outputs.stacked[name], outputs.labels[name])
        losses.append(loss)
    return inverse_loss_weights(losses)


def model_metrics(folder: Path) -> Metrics:
    """Return `eval_*` (without this prefix) and `test_*` of one model."""
    metrics = {}
    for key, value in read_json(folder / "metrics.json").items():
        if key.startswith(("eval_", "test_")):
            metrics[key.removeprefix("eval_")] = value
    return metrics


def over_models(metrics: dict[str, Metrics], reduce: Callable[[list[float]], Any]) -> Metrics:
    """Apply `reduce` to the values that the models have of each metric.

    A metric that one of them lacks, such as F1 of a class that is not in its fold, is left out.
    """
    first, *others = metrics.values()
    reduced = {}
    for key in first:
        if all(key in other for other in others):
            values = [of_model[key] for of_model in metrics.values()]
            reduced[key] = float(reduce(values))
    return reduced


def sample_std(values: list[float]) -> float:
    """Return the standard deviation of models that are a sample of those that could have been trained (N - 1)."""
    return float(np.std(values, ddof=1))


def write_predictions(path: Path, scored: Scored, tasks: Sequence[Task], outputs: list) -> None:
    """Write id, fold, labels, `pred_<label>` and probabilities of each validated row, in the order of the file."""
    id_column = scored.id_column or ROW
    answers = zip(scored.rows, tasks, outputs, strict=True)
    with open_csv(path) as writer:
        for k, (row, task, output) in enumerate(answers):
            record: dict[str, Any] = {id_column: scored.ids[k]}
            if scored.folds is not None:
                record["fold"] = scored.folds[k]
            record |= given_labels(row, task)
            for name, value in predicted_labels(task, output, row).items():
                record[f"pred_{name}"] = value
            record |= task.probability_columns(output)
            writer.write_record(record)
