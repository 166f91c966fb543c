"""The report of all folds (or seeds) together: on predictions out of fold every training row is judged."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.summary import Joined, Scored
from trainer_ext.data.suspects import row_id, row_key, source_split
from trainer_ext.reports.full_report import MODEL, Baselines, Reported, write_report
from trainer_ext.reports.row_tables import ReportRows
from trainer_ext.reports.run_report import write_figures


def report_together(args: Arguments, scored: Scored, joined: Joined) -> None:
    """Write the report beside the models.

    Args:
        args: of all models.
        scored: the rows they were validated on.
        joined: what they answer together.
    """
    folder = Path(args.training.output_dir)
    task, data = joined.task, args.data
    # By these the rows are found again when the file is read to drop some of them.
    columns = task.required_columns(data.text_column, data.label_columns)
    rows = ReportRows(
        joined.items,
        [row.where for row in scored.rows],
        [row_key(row, columns) for row in scored.rows],
        [row_id(row, data.id_column) for row in scored.rows],
        source_split(data, in_folds=bool(args.folds.folds)),
        task.reads_words,
    )
    kind = "out-of-fold predictions of" if args.folds.folds else "validation rows, by all of"
    about = Reported(
        title=folder.resolve().name,
        subtitle=f"Task {task.name}, judged on {len(rows.items)} {kind} {len(scored.parts)} models.",
        task=task,
        scored=joined.scored,
        rows=rows,
        baselines=mean_baselines(folder, joined, list(scored.parts)),
        history=[],
        suspects=args.training.suspects,
    )
    write_figures(folder / "plots", task, joined.scored)
    write_report(folder, about)


def mean_baselines(folder: Path, joined: Joined, members: list[str]) -> Baselines:
    """Return the means of what the baselines of each model scored on the rows it was validated on.

    A metric that one of them lacks, such as F1 of a class that is not in its fold, is left out.
    """
    tables = [read_baselines(folder / name / "report" / "baselines.csv") for name in members]
    means: dict[str, dict[str, float]] = {}
    for scored in tables[0]:
        for metric in tables[0][scored]:
            values = [table.get(scored, {}).get(metric) for table in tables]
            if None not in values:
                means.setdefault(scored, {})[metric] = float(np.mean(np.array(values, float)))
    # The model's own means are in cv.json already, with its calibration across folds.
    means.pop(MODEL, None)
    note = (
        f"Means over the {len(members)} models; each baseline has the training rows of its model."
    )
    return Baselines(means, joined.task.default_metric, joined.summary["mean"], note)


def read_baselines(path: Path) -> dict[str, dict[str, float]]:
    """Return the metrics by what was scored, from a table that `reports/full_report.py` wrote; none without a file."""
    found: dict[str, dict[str, float]] = {}
    # Members of a folder that was begun by an earlier version have none.
    if not path.is_file():
        return found
    with open(path, encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            metric: Any = record.pop("metric")
            for scored, value in record.items():
                if value:
                    found.setdefault(scored, {})[metric] = float(value)
    return found
