"""Focal + R-Drop against plain cross entropy on real reviews, over seeds: mean and spread.

    python benchmarks/focal_rdrop_reviews.py --data ../shared/data/aichallenger2018_fsa_zh/chinese_valid.part70.csv

The file is split once (seed 0) into 60% training, 20% validation (chooses the epoch) and 20% test (reported).
Runs that are already there are not repeated.
"""

import argparse
import json
from pathlib import Path

from runs import run_script, spread

from trainer_ext.reports.tables import table

VARIANTS = {
    "cross entropy": ["--focal_gamma", "0", "--rdrop_alpha", "0"],
    "focal + R-Drop": [],
}
PARTS = {"train": 0.6, "validation": 0.2, "test": 0.2}
METRICS = ("accuracy", "f1_macro", "exact_match")


def main() -> None:
    """Train every variant with every seed, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--output_dir", type=Path, default=Path("outputs/bench/focal_rdrop_reviews")
    )
    args = parser.parse_args()
    data = args.output_dir / "data"
    if not (data / "test.jsonl").is_file():
        run_script(
            "benchmarks/split.py",
            args.data,
            data,
            *(f"{part}={share}" for part, share in PARTS.items()),
        )
    rows = []
    for name, flags in VARIANTS.items():
        results = []
        for seed in args.seeds:
            out = args.output_dir / f"{name.replace(' ', '')}-{seed}"
            if not (out / "metrics.json").exists():
                files = [f"--{part}_file={data / part}.jsonl" for part in PARTS]
                run_script(
                    *(
                        "train.py",
                        "configs/reviews_scratch.yaml",
                        "--report_to",
                        "none",
                        *flags,
                        *files,
                    ),
                    *("--seed", seed, "--output_dir", out, "--resume_from_checkpoint", "true"),
                )
            results.append(json.loads((out / "metrics.json").read_text()))
        cells = []
        for metric in (*(f"test_{m}" for m in METRICS), "train_runtime"):
            cells.append(
                spread(
                    [result[metric] for result in results], 0 if metric == "train_runtime" else 4
                )
            )
        rows.append([name, *cells])
    print(f"\n{len(args.seeds)} seeds, mean +- standard deviation, test rows")
    print(table(rows, ["objective", *METRICS, "seconds"]))


if __name__ == "__main__":
    main()
