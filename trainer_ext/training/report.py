"""The report of one trained model: baselines on the rows that it was trained on, then everything on validation rows."""

from pathlib import Path
from typing import Any

from datasets import Dataset

from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import inputs_and_labels
from trainer_ext.data.streaming import StreamedDataset
from trainer_ext.data.suspects import source_split
from trainer_ext.data.training_data import Datasets
from trainer_ext.evaluation.baselines import PROBE, score_baselines
from trainer_ext.reports.full_report import Baselines, Reported, write_report
from trainer_ext.reports.row_tables import ReportRows
from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.training.linear_probe import Probe
from trainer_ext.training.training_rows import rows_for_baselines


def report_validation(
    args: Arguments,
    datasets: Datasets,
    task: Task,
    scored: ScoredRows,
    history: list[dict[str, Any]],
    probe: Probe,
) -> None:
    """Write the report of a model into its folder, unless `--write_report false`.

    Args:
        args: of the run.
        datasets: its rows by split.
        task: of the model.
        scored: its outputs on the validation rows.
        history: what the Trainer logged.
        probe: on the encoder as it was before training.
    """
    if not args.training.write_report:
        return
    folder = Path(args.training.output_dir)
    validation, train = datasets["validation"], datasets["train"]
    assert isinstance(validation, Dataset) and train is not None
    # Of the process that trains one fold.
    in_folds = args.folds.fold is not None
    items, _ = inputs_and_labels(validation)
    rows = ReportRows(
        items,
        validation["place"],
        validation["key"],
        validation["row_id"],
        source_split(args.data, in_folds),
        task.reads_words,
    )
    about = Reported(
        title=folder.resolve().name,
        subtitle=f"Task {task.name}, judged on {len(rows.items)} validation rows.",
        task=task,
        scored=scored,
        rows=rows,
        baselines=baselines_of(args, task, train, items, scored, probe),
        history=history,
        # Those of all folds are in one file beside them.
        suspects="false" if in_folds else args.training.suspects,
    )
    write_report(folder, about)


def baselines_of(
    args: Arguments,
    task: Task,
    train: Dataset | StreamedDataset,
    items: list[Any],
    scored: ScoredRows,
    probe: Probe,
) -> Baselines:
    """Train and score the baselines that `--baseline` asks for; the probe was scored before training."""
    metric = task.default_metric
    if args.training.baseline == "none":
        return Baselines({}, metric, scored["metrics"])
    rows = rows_for_baselines(args, task, train)
    found = score_baselines(task, rows, items, scored["labels"], args.training.seed)
    trained_on = f"Baselines were trained on {len(rows.items)} of {rows.of} training rows"
    # The reader should know that the baseline has seen less.
    if len(rows.items) < rows.of:
        trained_on += ", at equal distances: they must cost little (--baseline_rows)"
    if probe.metrics:
        found[PROBE] = probe.metrics
    note = f"{trained_on}. {probe.note}".rstrip()
    return Baselines(found, metric, scored["metrics"], note)
