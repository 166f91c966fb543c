"""What a run leaves of its validation rows: csv files, plots, suspects.csv, and report.html that shows them together.

Each part is made, written and forgotten before the next: the page holds the pictures and the first rows of the tables.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.arguments.own_training import greater_is_better
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.files import read_json
from trainer_ext.reports import row_tables
from trainer_ext.reports.html import Section, write_page
from trainer_ext.reports.row_plots import length_plot, reliability_diagram
from trainer_ext.reports.row_tables import Record, ReportRows
from trainer_ext.reports.suspects import EXTRA, find_suspects, has_cleanlab
from trainer_ext.tasks import Task
from trainer_ext.tasks.decisions import Decisions, NumberDecisions, RowScores, scores_by_row
from trainer_ext.tasks.outputs import ScoredRows

logger = logging.getLogger(__name__)

MODEL = "model"
OF_CLASSES = ("confusion_matrix.png", "f1_by_aspect.png", "f1_by_class.png", "predictions.png")
WITHOUT_CLEANLAB = f"suspects.csv needs cleanlab: {EXTRA}"


@dataclass(frozen=True)
class Baselines:
    """What the model is compared with.

    Attributes:
        metrics: of each baseline by its name, the strongest kind last; empty without any.
        metric: the one that decides.
        model: metrics of the model on the same rows.
        note: on what they were trained.
    """

    metrics: Mapping[str, Mapping[str, float]]
    metric: str
    model: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True)
class Reported:
    """A model and the rows it is judged on.

    Attributes:
        title: of the page.
        subtitle: on what the model was judged.
        task: of the model.
        scored: labels, logits and metrics of the rows.
        rows: inputs and names of these rows.
        baselines: to compare the metrics with.
        history: what the Trainer logged; empty if it is of several models.
        suspects: `--suspects`.
    """

    title: str
    subtitle: str
    task: Task
    scored: ScoredRows
    rows: ReportRows
    baselines: Baselines
    history: Sequence[Mapping[str, Any]]
    suspects: str


def write_report(folder: Path, about: Reported) -> str:
    """Write `FILES` and plots into the folder, beside the plots that are there; return the verdict on the model."""
    decisions = about.task.decisions(about.scored)
    scores = scores_by_row(decisions, len(about.rows.items))
    sections = [
        metrics_section(folder, about),
        curves_section(folder, about),
        scores_section(folder, decisions),
        reliability_section(folder, decisions),
        length_section(folder, about, decisions, scores),
        rejection_section(folder),
        hardest_section(folder, about, decisions, scores),
        suspects_section(folder, about, decisions),
    ]
    said, behind = verdict(about.baselines)
    # It should not be found out from a page that nobody opens.
    # Who only looks at the log should know it, too.
    if behind:
        logger.warning(said)
    write_page(folder / "report.html", about.title, about.subtitle, said, behind, sections)
    return said


def verdict(baselines: Baselines) -> tuple[str, bool]:
    """Return how the model compares with the best baseline in one line, and whether it does not beat it."""
    metric = baselines.metric
    own = baselines.model[metric]
    if not baselines.metrics:
        return f"{metric} {own:.4f}; it was not compared with a baseline (--baseline none).", False
    sign = 1 if greater_is_better(metric) else -1
    best = max(baselines.metrics, key=lambda name: sign * baselines.metrics[name][metric])
    value = baselines.metrics[best][metric]
    compared = f"{metric} {own:.4f}, {best} {value:.4f}"
    # An equal score is no gain: the baseline trains in seconds. NaN is not better than anything.
    if sign * own > sign * value:
        return f"The model beats the best baseline: {compared}.", False
    return f"The model does not beat the {best} baseline: {compared}.", True


def written(folder: Path, name: str, records: Iterable[Record]) -> list[Record]:
    """Write records to `report/NAME.csv`, and return those that a page has room for."""
    (folder / "report").mkdir(parents=True, exist_ok=True)
    return write_table(folder / "report" / f"{name}.csv", records)


def write_table(path: Path, records: Iterable[Record], most: int = 200) -> list[Record]:
    """Write records to a csv file one by one, and return the first ones."""
    first: list[Record] = []
    with open_csv(path) as writer:
        for record in records:
            writer.write_record(record)
            # The rest goes to the file only: there may be millions.
            if len(first) < most:
                first.append(record)
    return first


def metrics_section(folder: Path, about: Reported) -> Section:
    """Show the metrics of the model and of the baselines."""
    section = Section("Metrics")
    if about.baselines.note:
        section.notes.append(about.baselines.note)
    compared = {MODEL: about.baselines.model, **about.baselines.metrics}
    records = row_tables.baseline_records(compared)
    section.add_table(written(folder, "baselines", records), most=200)
    return section


def curves_section(folder: Path, about: Reported) -> Section:
    """Show the loss with each of its terms, and the metric, while training."""
    section = Section("Learning curves")
    # Folds have curves of their own, each in its folder.
    if about.history:
        written(folder, "learning_curves", row_tables.curve_records(about.history))
    section.add_pictures([folder / "plots" / "learning_curves.png"])
    return section


def scores_section(folder: Path, decisions: Sequence[Decisions]) -> Section:
    """Show what is mixed up, and precision, recall and F1 of each class (the errors of each target)."""
    section = Section("Classes")
    if any(isinstance(decided, NumberDecisions) for decided in decisions):
        section.title = "Targets"
    section.add_pictures(folder / "plots" / name for name in OF_CLASSES)
    # Parts of an answer may have other columns: the intent has no slot.
    records = [record for decided in decisions for record in decided.scores()]
    section.add_table(written(folder, "scores", records), most=200)
    if len(records) > 200:
        section.notes.append(f"The first 200 of {len(records)} lines of report/scores.csv.")
    confusions = row_tables.confusion_records(decisions)
    written(folder, "confusions", confusions)
    return section


def reliability_section(folder: Path, decisions: Sequence[Decisions]) -> Section:
    """Show whether the model is right as often as it says."""
    section = Section("Confidence")
    parts = row_tables.reliability(decisions)
    # Scores come without probabilities.
    if not parts:
        return section
    picture = folder / "plots" / "reliability.png"
    reliability_diagram(parts, picture)
    for name, bins in parts.items():
        gap = row_tables.calibration_error(bins)
        of_part = "" if name == row_tables.ALL else f" of {name}"
        section.notes.append(f"Probability and share that is right{of_part} differ by {gap:.3f}.")
    written(folder, "reliability", row_tables.reliability_records(parts))
    section.add_pictures([picture])
    return section


def rejection_section(folder: Path) -> Section:
    """Show how well `--reject` tells what the model does not know, if it was asked for."""
    section = Section("I do not know")
    path = folder / "reject.json"
    # Without --reject.
    if not path.is_file():
        return section
    found = read_json(path)
    section.notes.append(
        f"Chosen: {found['chosen']}, with a threshold at which {found['rate']:.1%} of {found['validation_rows']} "
        "validation rows are rejected."
    )
    section.add_pictures([folder / "plots" / "reject.png"])
    section.add_table(found["scores"])
    return section


def length_section(
    folder: Path, about: Reported, decisions: Sequence[Decisions], scores: RowScores
) -> Section:
    """Show whether short or long rows are harder."""
    section = Section("Length against error")
    errors = 1.0 - scores.is_right
    measure = "share of rows with an error"
    # A score is never quite right.
    if any(isinstance(decided, NumberDecisions) for decided in decisions):
        errors = np.sqrt(scores.loss)
        measure = "error in standard deviations"
    bins = row_tables.length_bins(about.rows.lengths(), errors)
    picture = folder / "plots" / "length.png"
    length_plot(bins, about.rows.unit, measure, picture)
    written(folder, "length", (found._asdict() for found in bins))
    section.add_pictures([picture])
    return section


def hardest_section(
    folder: Path, about: Reported, decisions: Sequence[Decisions], scores: RowScores
) -> Section:
    """Show the rows with the largest loss."""
    section = Section("Hardest rows")
    records = row_tables.hardest(decisions, scores, about.rows)
    section.add_table(written(folder, "hardest", records), left_out=["row_id"])
    shown = len(section.rows)
    section.notes.append(
        f"The {shown} rows with the largest loss; report/hardest.csv has up to {row_tables.MOST_HARD}. The margin is "
        "the probability of the label less that of the best other answer: near -1 the model is sure of something else."
    )
    return section


def suspects_section(folder: Path, about: Reported, decisions: Sequence[Decisions]) -> Section:
    """Show the rows whose label is probably wrong, and say what to do with suspects.csv."""
    section = Section("Probably wrong labels")
    if about.suspects == "false":
        return section
    # An extra: the rest of the page does not need it.
    if not has_cleanlab():
        section.notes.append(WITHOUT_CLEANLAB)
        return section
    found = find_suspects(decisions, len(about.rows.items))
    records = row_tables.suspect_records(decisions, found, about.rows)
    listed = write_table(folder / "suspects.csv", records)
    section.add_table(listed, left_out=["verdict", "row_id", "split", "key"])
    flagged = int(found.is_flagged.sum())
    section.notes += [
        f"{flagged} of {found.judged} rows are flagged. suspects.csv lists these and then the next most suspicious: "
        "write wrong or right into its column verdict, then train with --drop_suspects suspects.csv.",
    ]
    if found.judged < len(about.rows.items):
        section.notes.append(
            f"Only the first {found.judged} of {len(about.rows.items)} rows were judged."
        )
    if about.rows.split == "validation":
        section.notes.append(
            "These are validation rows. With --folds every training row is judged, by a model that did not see it."
        )
    return section
