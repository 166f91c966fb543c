"""Five folds into one student: its accuracy beside that of the folds, on titles that none of them has seen.

    python benchmarks/folds_to_student.py --train_file ../shared/data/thucnews10/train_45k.txt.gz \
        --test_file ../shared/data/thucnews10/dev.txt --every 5

A tenth of the training rows is kept from folds and students alike, and chooses the students' epoch. The students
(`configs/ensemble_to_student.yaml`) are trained with the folds' probabilities and, `alone`, on the labels only. The
test file is only reported. Finished models in --output_dir are not trained again.
"""

import argparse
from pathlib import Path

from runs import run_script, spread
from students import sample

from trainer_ext.files import read_json
from trainer_ext.tables import table

FOLDS = 5
KEPT_BACK = 10  # every tenth row
ALONE = ("--distill_alpha", "0")


def keep_back(rows: Path, folder: Path) -> tuple[Path, Path]:
    """Divide the rows into those to train on and those to choose with; returns the two files."""
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)
    train, kept = folder / "train.txt", folder / "validation.txt"
    kept.write_text("".join(lines[::KEPT_BACK]), encoding="utf-8")
    train.write_text(
        "".join(line for n, line in enumerate(lines) if n % KEPT_BACK), encoding="utf-8"
    )
    return train, kept


def train_folds(folder: Path, files: list[object]) -> None:
    """Train the folds that are missing."""
    run_script(
        *("train.py", "configs/news_scratch.yaml", *files, "--folds", FOLDS),
        *("--report_to", "none", "--write_report", "false", "--output_dir", folder),
    )


def train_student(folder: Path, teacher: Path, files: list[object], words: list[object]) -> None:
    """Train a student unless it is there."""
    if (folder / "metrics.json").is_file():
        return
    run_script(
        *("train.py", "configs/ensemble_to_student.yaml", *files, "--teacher", teacher, *words),
        *("--report_to", "none", "--write_report", "false", "--output_dir", folder),
        *("--resume_from_checkpoint", "true"),
    )


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--test_file", required=True)
    parser.add_argument("--every", type=int, default=1, help="take every so many training rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/folds_to_student"))
    options = parser.parse_args()
    folder = options.output_dir
    rows = sample(options.train_file, options.every, folder / "rows.txt")
    train, kept = keep_back(rows, folder)
    tested = ["--train_file", train, "--test_file", options.test_file]
    folds = folder / "folds"
    train_folds(folds, tested)
    accuracies: dict[str, list[float]] = {"student of the folds": [], "student alone": []}
    for seed in options.seeds:
        for name, words in zip(accuracies, ((), ALONE), strict=True):
            own = folder / f"{name.replace(' ', '-')}-{seed}"
            chosen = [*tested, "--validation_file", kept]
            train_student(own, folds, chosen, [*words, "--seed", seed])
            accuracies[name].append(read_json(own / "metrics.json")["test_accuracy"])
    of_folds = [
        read_json(folds / f"fold-{k}" / "metrics.json")["test_accuracy"] for k in range(FOLDS)
    ]
    together = read_json(folds / "test_metrics.json")["accuracy"]
    lines = [
        ["the folds, each", spread(of_folds)],
        ["the best fold on these rows", f"{max(of_folds):.4f}"],
        ["the folds together", f"{together:.4f}"],
    ]
    lines += [[name, spread(values)] for name, values in accuracies.items()]
    print(f"\n{table(lines, ('model', 'test accuracy'))}")


if __name__ == "__main__":
    main()
