"""The report of one trained model: baselines on the rows that it was trained on, then everything on validation rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import inputs_and_labels
from trainer_ext.data.streaming import StreamedDataset
from trainer_ext.data.suspects import source_split
from trainer_ext.data.training_data import Datasets
from trainer_ext.evaluation.baselines import TrainingRows, score_baselines, some_rows
from trainer_ext.reports.full_report import Baselines, Reported, write_report
from trainer_ext.reports.row_tables import ReportRows
from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows


def report_validation(
    args: Arguments,
    datasets: Datasets,
    task: Task,
    scored: ScoredRows,
    history: list[dict[str, Any]],
) -> None:
    """Write the report of a model into its folder, unless `--write_report false`.

    Args:
        args: of the run.
        datasets: its rows by split.
        task: of the model.
        scored: its outputs on the validation rows.
        history: what the Trainer logged.
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
        baselines=baselines_of(args, task, train, items, scored),
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
) -> Baselines:
    """Train and score the baselines that `--baseline` asks for."""
    metric = task.default_metric
    if args.training.baseline == "none":
        return Baselines({}, metric, scored["metrics"])
    rows = rows_for_baselines(args, task, train)
    found: Mapping[str, Mapping[str, float]] = score_baselines(
        task, rows, items, scored["labels"], args.training.seed
    )
    trained_on = f"Baselines were trained on {len(rows.items)} of {rows.of} training rows"
    # The reader should know that the baseline has seen less.
    if len(rows.items) < rows.of:
        trained_on += ", at equal distances: they must cost little (--baseline_rows)"
    return Baselines(found, metric, scored["metrics"], f"{trained_on}.")


def rows_for_baselines(
    args: Arguments, task: Task, train: Dataset | StreamedDataset
) -> TrainingRows:
    """Return some of the training rows; a streamed file is read once more."""
    examples: Iterable[tuple[Any, Any]]
    # It is in no memory to be taken from.
    if isinstance(train, StreamedDataset):
        examples = map(as_pair, train.examples())
    else:
        examples = zip(*inputs_and_labels(train), strict=True)
    return some_rows(examples, len(train), task, args.training.baseline_rows)


def as_pair(example: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return input and labels of a streamed row."""
    if "words" in example:
        return example["words"], (example["labels"], example["token_labels"])
    return example["text"], example["labels"]
