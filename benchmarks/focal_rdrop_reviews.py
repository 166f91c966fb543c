"""Compare Focal Loss + R-Drop with plain cross entropy on real reviews, over several seeds: mean and spread.

    python benchmarks/focal_rdrop_reviews.py --data ../shared/data/aichallenger2018_fsa_zh/chinese_valid.part70.csv

The file is split once (seed 0): 60% training, 20% validation, which chooses the epoch, and 20% test, which is reported.
Finished runs are not repeated.
"""

import argparse
from pathlib import Path
from typing import Any

from runs import run_script, spread

from trainer_ext.files import read_json
from trainer_ext.tables import table

VARIANTS = {
    "cross entropy": ["--focal_gamma", "0", "--rdrop_alpha", "0"],
    "focal + R-Drop": [],
}
PARTS = {"train": 0.6, "validation": 0.2, "test": 0.2}
METRICS = ("accuracy", "f1_macro", "exact_match")


def split_data(source: Path, data: Path) -> None:
    """Split the file into its parts, unless that was done."""
    if (data / "test.jsonl").is_file():
        return
    parts = [f"{part}={share}" for part, share in PARTS.items()]
    run_script("benchmarks/split.py", source, data, *parts)


def train(flags: list[str], seed: int, data: Path, out: Path) -> dict[str, Any]:
    """Train unless the run is finished, and return its metrics."""
    if not (out / "metrics.json").exists():
        files = [f"--{part}_file={data / part}.jsonl" for part in PARTS]
        run_script(
            *("train.py", "configs/reviews_scratch.yaml", "--report_to", "none", *flags, *files),
            *("--seed", seed, "--output_dir", out, "--resume_from_checkpoint", "true"),
        )
    return read_json(out / "metrics.json")


def main() -> None:
    """Train every variant with every seed, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--output_dir", type=Path, default=Path("outputs/bench/focal_rdrop_reviews")
    )
    args = parser.parse_args()
    data = args.output_dir / "data"
    split_data(args.data, data)
    rows = []
    for name, flags in VARIANTS.items():
        results = []
        for seed in args.seeds:
            out = args.output_dir / f"{name.replace(' ', '')}-{seed}"
            results.append(train(flags, seed, data, out))
        cells = [spread([result[f"test_{metric}"] for result in results]) for metric in METRICS]
        seconds = spread([result["train_runtime"] for result in results], digits=0)
        rows.append([name, *cells, seconds])
    print(f"\n{len(args.seeds)} seeds, mean +- standard deviation, test rows")
    print(table(rows, ["objective", *METRICS, "seconds"]))


if __name__ == "__main__":
    main()
