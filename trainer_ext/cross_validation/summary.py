"""What all folds (or seeds) are together: joined predictions, mean and spread, weights for an ensemble."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.cross_fit import cross_fitted, with_own_decisions
from trainer_ext.cross_validation.outputs import load_outputs
from trainer_ext.cross_validation.tables import given_labels, predicted_labels
from trainer_ext.data.fold_table import ROW, FoldTable, row_ids, telling_id_column
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import texts_and_labels
from trainer_ext.files import read_json, write_json
from trainer_ext.inference.combine import (
    combine,
    ensemble_task,
    fit_weights,
    inverse_loss_weights,
)
from trainer_ext.inference.folder import read_pipeline
from trainer_ext.tasks import Task


@dataclass(frozen=True)
class Scored:
    """Models and the rows each was validated on.

    Attributes:
        rows: the validated rows, in the order of the file.
        id_column: the column of their ids; None where they are numbered.
        ids: of these rows.
        folds: of these rows; None where that is not one number.
        parts: by model, the positions in `rows` of its validation rows.
    """

    rows: list[Row]
    id_column: str | None
    ids: list[str]
    folds: list[int] | None
    parts: dict[str, np.ndarray]


def scored_by_folds(table: FoldTable, rows: Sequence[Row]) -> Scored:
    """Every original row, validated in its fold."""
    own = np.flatnonzero(table.original)
    position = np.full(len(rows), -1)
    position[own] = np.arange(len(own))
    parts = {f"fold-{k}": position[table.validation_rows(k)] for k in range(table.models)}
    folds = table.folds[0, own].tolist() if len(table.folds) == 1 else None
    return Scored(
        [rows[k] for k in own], table.id_column, [table.ids[k] for k in own], folds, parts
    )


def scored_by_seeds(names: Sequence[str], rows: list[Row], id_column: str | None) -> Scored:
    """Every validation row, by every model."""
    id_column = telling_id_column(rows, id_column)
    ids = row_ids(rows, id_column)
    return Scored(rows, id_column, ids, None, {name: np.arange(len(rows)) for name in names})


def summarise(args: Arguments, scored: Scored, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write `oof.csv` and `cv.json` (for seeds `validation.csv` and `cv.json`); returns the latter's content."""
    folder, names = Path(args.training.output_dir), list(scored.parts)
    tasks = {name: read_pipeline(folder / name).task for name in names}
    whole = ensemble_task(names, list(tasks.values()))
    _, labels = texts_and_labels(scored.rows, args.data.text_column, whole)
    outputs = {name: load_outputs(folder / name, tasks[name]) for name in names}
    stacked = {name: whole.stack(rows) for name, rows in outputs.items()}
    own = {
        name: whole.stack_labels([labels[k] for k in part]) for name, part in scored.parts.items()
    }
    metrics, by_seeds = (
        {name: model_metrics(folder / name) for name in names},
        bool(args.folds.seeds),
    )
    if args.model.calibrate != "none" and not by_seeds:
        tasks = cross_fitted(tasks, stacked, own, args.model.calibrate, args.folds.folds)
        for name, task in tasks.items():
            metrics[name] |= task.compute_metrics(stacked[name], own[name])
            metrics[name] |= task.calibration_metrics(stacked[name], own[name])
    of_rows, joined = join(tasks, outputs, scored)
    write_predictions(
        folder / ("validation.csv" if by_seeds else "oof.csv"), scored, of_rows, joined
    )
    whole = with_own_decisions(whole, of_rows)
    weights = model_weights(by_seeds, tasks, stacked, own)
    result = {
        "metric": whole.default_metric,
        "greater_is_better": whole.greater_is_better,
        "mean": over_models(metrics, np.mean),
        "std": over_models(metrics, lambda values: np.std(values, ddof=1)),
        "ensemble" if by_seeds else "oof": whole.compute_metrics(
            whole.stack(joined), whole.stack_labels(labels)
        ),
        "seeds" if by_seeds else "folds": metrics,
        "weights": dict(zip(names, weights, strict=True)),
        "validated_rows": len(scored.rows),
        "made": dict(about),
    }
    write_json(folder / "cv.json", result)
    return result


def join(
    tasks: dict[str, Task], outputs: dict[str, list], scored: Scored
) -> tuple[list[Task], list]:
    """For each row the task and the output of the models that were validated on it, together."""
    models: list[list[str]] = [[] for _ in scored.rows]
    answers: list[list] = [[] for _ in scored.rows]
    for name, positions in scored.parts.items():
        for position, output in zip(positions, outputs[name], strict=True):
            models[position].append(name)
            answers[position].append(output)
    of = {names: [tasks[name] for name in names] for names in map(tuple, models)}
    together = {names: ensemble_task(names, several) for names, several in of.items()}
    joined = [
        combine(of[tuple(names)], several) for names, several in zip(models, answers, strict=True)
    ]
    return [together[tuple(names)] for names in models], joined


def model_weights(
    by_seeds: bool, tasks: dict[str, Task], outputs: dict[str, Any], labels: dict
) -> list[float]:
    """For `--ensemble weighted`: fitted where all models saw the same rows, else by the loss on rows of their own."""
    if by_seeds:
        return fit_weights(
            list(tasks.values()), list(outputs.values()), next(iter(labels.values()))
        )
    return inverse_loss_weights(
        [task.ensemble_loss(outputs[name], labels[name]) for name, task in tasks.items()]
    )


def model_metrics(folder: Path) -> dict[str, float]:
    """`eval_*` and `test_*` of one model: validation without its prefix."""
    metrics = read_json(folder / "metrics.json")
    return {
        key.removeprefix("eval_"): value
        for key, value in metrics.items()
        if key.startswith(("eval_", "test_"))
    }


def over_models(metrics: dict[str, dict[str, float]], function) -> dict[str, float]:
    """`function` of each metric that every model has (F1 of a class that a fold lacks is left out)."""
    first, *others = metrics.values()
    shared = [key for key in first if all(key in other for other in others)]
    return {key: float(function([values[key] for values in metrics.values()])) for key in shared}


def write_predictions(path: Path, scored: Scored, tasks: Sequence[Task], outputs: list) -> None:
    """A row per validated row, in the order of the file: id, fold, labels, `pred_<label>`, probabilities."""
    with open_csv(path) as writer:
        for k, (row, task, output) in enumerate(zip(scored.rows, tasks, outputs, strict=True)):
            fold = {} if scored.folds is None else {"fold": scored.folds[k]}
            predicted = {
                f"pred_{name}": value for name, value in predicted_labels(task, output, row).items()
            }
            record = {scored.id_column or ROW: scored.ids[k]} | fold | given_labels(row, task)
            record |= predicted | task.probability_columns(output)
            writer.write_record(record)
