"""Models to measure prediction with, hardly trained, and their exports: TinyBERT's shape, and a static student."""

import csv
from collections.abc import Sequence
from pathlib import Path

from runs import run_script

ROOT = Path(__file__).resolve().parent.parent
REVIEWS = ROOT / "data/reviews/train.csv"
ASPECT = "dish_taste"
CLAUSE_ENDS = str.maketrans("，。！？；～~!,", "\n" * 9)


TINYBERT = ("--from_scratch", "tinybert_4l", "--vocab_size", "21128")
STATIC = ("--from_scratch", "static")


def make_small_model(
    folder: Path, model: Sequence[str] = TINYBERT, skip: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Return a checkpoint and its export, made in `folder` unless they are there.

    How much it has learnt does not matter: it is as fast as one that knows everything.

    Args:
        folder: of both.
        model: flags that say what it is.
        skip: stages that the export leaves out.
    """
    checkpoint = folder / "checkpoint"
    export = folder / "export"
    if (export / "export_report.json").is_file():
        return checkpoint, export
    data = ["--task", "single_label", "--train_file", REVIEWS, "--validation_file", REVIEWS]
    data += ["--text_column", "reviewbody", "--label_columns", ASPECT]
    steps = ["--max_length", "128", "--max_steps", "2", "--per_device_train_batch_size", "8"]
    place = ["--output_dir", checkpoint, "--overwrite_output_dir", "true", "--report_to", "none"]
    run_script(ROOT / "train.py", *data, *model, *steps, *place)
    labelled = ["--eval_file", REVIEWS.with_name("validation.csv"), "--max_metric_drop", "100"]
    stages = ["--skip", *skip] if skip else []
    run_script(ROOT / "export.py", checkpoint, "--output_dir", export, *labelled, *stages)
    return checkpoint, export


def read_clauses() -> list[str]:
    """Return the clauses of the sample reviews that are as long as titles: 4 to 14 characters."""
    clauses: list[str] = []
    with open(REVIEWS, encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            parts = row["reviewbody"].translate(CLAUSE_ENDS).split()
            clauses += [part for part in parts if 4 <= len(part) <= 14]
    return clauses
