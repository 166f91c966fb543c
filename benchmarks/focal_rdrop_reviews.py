"""Focal + R-Drop against plain cross entropy on real reviews, over seeds: mean and spread.

    python benchmarks/focal_rdrop_reviews.py --data ../shared/data/aichallenger2018_fsa_zh/chinese_valid.part70.csv

The file is split once (seed 0) into 60% training, 20% validation (chooses the epoch) and 20% test (reported).
Runs that are already there are not repeated.
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

from trainer_ext.data.readers import read_rows
from trainer_ext.reports.tables import table

VARIANTS = {
    "cross entropy": ["--focal_gamma", "0", "--rdrop_alpha", "0"],
    "focal + R-Drop": [],
}
METRICS = ("accuracy", "f1_macro", "exact_match")


def split(source: str, folder: Path) -> dict[str, Path]:
    """Write train.csv, validation.csv and test.csv."""
    rows = [row.values for row in read_rows(source)]
    random.Random(0).shuffle(rows)
    a, b = int(0.6 * len(rows)), int(0.8 * len(rows))
    files = {}
    for name, part in (("train", rows[:a]), ("validation", rows[a:b]), ("test", rows[b:])):
        files[name] = folder / f"{name}.csv"
        with open(files[name], "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    return files


def main() -> None:
    """Train every variant with every seed, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/bench/focal_rdrop_reviews"))
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    files = split(args.data, args.output_dir)
    rows = []
    for name, flags in VARIANTS.items():
        results = []
        for seed in args.seeds:
            out = args.output_dir / f"{name.replace(' ', '')}-{seed}"
            if not (out / "metrics.json").exists():
                command = [sys.executable, "train.py", "configs/reviews_scratch.yaml", "--report_to", "none", *flags]
                command += [f"--{split}_file={path}" for split, path in files.items()]
                command += ["--seed", str(seed), "--output_dir", str(out), "--resume_from_checkpoint", "true"]
                subprocess.run(command, check=True)
            results.append(json.loads((out / "metrics.json").read_text()))
        cells = []
        for metric in (*(f"test_{m}" for m in METRICS), "train_runtime"):
            values = [result[metric] for result in results]
            digits = 0 if metric == "train_runtime" else 4
            cells.append(f"{statistics.mean(values):.{digits}f} +- {statistics.stdev(values):.{digits}f}")
        rows.append([name, *cells])
    print(f"\n{len(args.seeds)} seeds, mean +- standard deviation, test rows")
    print(table(rows, ["objective", *METRICS, "seconds"]))


if __name__ == "__main__":
    main()
