"""A model that was trained, saved and scored, and what is written beside it for people and for later comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import inputs_and_labels
from trainer_ext.data.training_data import SPLITS, Datasets
from trainer_ext.evaluation.outputs import row_hashes, save_outputs
from trainer_ext.evaluation.resampling import metric_intervals
from trainer_ext.files import read_json
from trainer_ext.reports.cards import ModelFacts, write_model_card
from trainer_ext.reports.eval_results import result_file, write_result
from trainer_ext.reports.run_report import write_plots
from trainer_ext.runs.output_dir import mark
from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.training.linear_probe import NO_PROBE, Probe
from trainer_ext.training.report import report_validation
from trainer_ext.training.trainer import CustomTrainer

PREFIXES = {"validation": "eval", "test": "test"}  # of the metrics' names, by split


@dataclass(frozen=True)
class Finished:
    """A model that was saved and scored, shortly before metrics.json says so.

    Attributes:
        folder: its output folder.
        task: with the calibration that was fitted.
        scores: by split, what `evaluation.scoring.score` returns.
        history: the Trainer's log.
        probe: what the encoder scored before it was trained.
    """

    folder: Path
    task: Task
    scores: dict[str, ScoredRows]
    history: list[dict[str, float]]
    probe: Probe = NO_PROBE


def facts_of(
    args: Arguments,
    trainer: CustomTrainer,
    datasets: Datasets,
    finished: Finished,
    metrics: Mapping[str, float],
) -> ModelFacts:
    """Return what the model card is made of."""
    counts = {split: len(datasets.get(split) or ()) for split in (*SPLITS, "unlabelled")}
    return ModelFacts(
        folder=finished.folder,
        args=args,
        task=finished.task,
        metrics=metrics,
        rows=counts,
        is_best=trainer.holds_best,
        intervals=intervals_of(finished),
        pipeline=read_json(finished.folder / "config.json")["pipeline"],
    )


def intervals_of(finished: Finished) -> dict[str, tuple[float, float]]:
    """Return the 95% interval of each metric that adds up over rows, by its name in metrics.json."""
    intervals = {}
    for split, scored in finished.scores.items():
        bounds = metric_intervals(finished.task, scored["logits"], scored["labels"])
        for name, low_and_high in bounds.items():
            intervals[f"{PREFIXES[split]}_{name}"] = low_and_high
    return intervals


def write_reports(
    trainer: CustomTrainer,
    datasets: Datasets,
    finished: Finished,
    facts: ModelFacts,
) -> None:
    """Write plots, report and model card, and the outputs by which runs are compared."""
    marked = trainer.step_of_model if trainer.holds_best else None
    validated = finished.scores.get("validation")
    # A run without validation rows is finished too, but cannot be compared.
    if validated is not None:
        hashes = row_hashes(*inputs_and_labels(datasets["validation"]))
        save_outputs(finished.folder, finished.task, validated, hashes)
    write_plots(finished.folder / "plots", finished.task, finished.history, marked, validated)
    # After the plots, which it shows.
    if validated is not None:
        report_validation(
            facts.args, datasets, finished.task, validated, finished.history, finished.probe
        )
    write_model_card(facts)
    name = result_file(facts)
    # Listed as the run's before it is written, as every file of a run.
    if name is not None:
        mark(finished.folder, [name])
        write_result(facts)
