"""Measure what each method brings and costs: one table per data set, over several seeds.

    python benchmarks/ablation.py --study objectives --shared ../shared/data
    python benchmarks/ablation.py --study data --shared ../shared/data --data_sets reviews --seeds 1 2 3

Every arm is the plain recipe plus the flags below. The epoch is chosen on the validation rows, and the test rows are
reported.

- SciCite: fixed samples of 1,000 training, 300 validation and 1,000 test rows, the packaged MiniLM encoder, 2 epochs.
- Reviews: 20 aspects; 60% of the file's rows for training, 20% for validation and 20% for the test; an encoder from
  scratch, 10 epochs.

EDA doubles the training rows. The cost is the processor time of the whole run, relative to that of the first arm with
the same seed. Seeds are the outer loop. Finished runs are not repeated.
"""

import argparse
import os
import resource
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runs import run_script, spread

from trainer_ext.files import read_json, write_json
from trainer_ext.tables import table

AUGMENTED = "AUGMENTED"  # stands for the training file with EDA's rows
# Each study: its arms, and the flags that they add to the recipe.
STUDIES = {
    "objectives": {
        "plain": "",
        "+Focal": "--focal_gamma 2",
        "+class weights": "--class_weights balanced",
        "+R-Drop": "--rdrop_alpha 1",
        "+FGM": "--adversarial fgm --adversarial_epsilon 0.5",
        "+layer decay": "--layer_wise_lr_decay 0.8",
        "all": "--focal_gamma 2 --focal_alpha balanced --rdrop_alpha 1 --adversarial fgm --adversarial_epsilon 0.5 "
        "--layer_wise_lr_decay 0.8",
    },
    "data": {
        "plain": "",
        "oversample": "--balance oversample",
        "undersample": "--balance undersample",
        "hybrid": "--balance hybrid",
        "EDA": f"--train_file {AUGMENTED}",
        "head_tail": "--truncation head_tail",
    },
}
RECIPES = {
    "scicite": "configs/scicite_minilm.yaml --class_weights none --max_length 48 --num_train_epochs 2 "
    "--logging_steps 20 --learning_rate 2e-4",
    "reviews": "configs/reviews_scratch.yaml --focal_gamma 0 --rdrop_alpha 0 --num_train_epochs 10 "
    "--early_stopping_patience 0 --max_length 128 --learning_rate 2e-3",
}
# The published files of a data set, and the parts that benchmarks/split.py cuts from them.
SOURCES = {
    "scicite": {
        "scicite/train.txt": ["train=1000"],
        "scicite/dev.txt": ["validation=300"],
        "scicite/test.txt": ["test=1000"],
    },
    "reviews": {
        "aichallenger2018_fsa_zh/chinese_valid.part70.csv": [
            "train=0.6",
            "validation=0.2",
            "test=0.2",
        ],
    },
}
LANGUAGES = {"scicite": "en", "reviews": "zh"}
TEXT_COLUMNS = {"scicite": "text", "reviews": "content"}
METRICS = {
    "scicite": ("test_f1_macro", "test_accuracy"),
    "reviews": ("test_f1_macro", "test_accuracy", "test_exact_match"),
}

Metrics = dict[str, Any]


def prepare(name: str, shared: Path, folder: Path) -> dict[str, Path]:
    """Make the fixed parts of a data set and its augmented training file, unless they exist.

    Returns:
        The file for each flag of train.py, and the augmented one under `AUGMENTED`.
    """
    if not (folder / "more.jsonl").is_file():
        for source, parts in SOURCES[name].items():
            reading = ["--file_format", "jsonl"] if source.endswith(".txt") else []
            run_script("benchmarks/split.py", shared / source, folder, *parts, *reading)
        augment(name, folder / "train.jsonl", folder / "more.jsonl")
    return {
        "--train_file": folder / "train.jsonl",
        "--validation_file": folder / "validation.jsonl",
        "--test_file": folder / "test.jsonl",
        AUGMENTED: folder / "more.jsonl",
    }


def augment(name: str, source: Path, target: Path) -> None:
    """Double the rows of a training file with EDA."""
    rows = source.read_bytes().count(b"\n")
    flags = {
        "--method": "eda",
        "--language": LANGUAGES[name],
        "--text_column": TEXT_COLUMNS[name],
        "--input": source,
        "--output": target,
        "--target_size": 2 * rows,
        "--seed": 1,
    }
    run_script("-m", "trainer_ext.data.augment", *as_words(flags))


def as_words(flags: dict[str, Any]) -> list[str]:
    """Return flags and their values as words of a command line."""
    words: list[str] = []
    for flag, value in flags.items():
        words += [flag, str(value)]
    return words


def training_command(name: str, arm: str, files: dict[str, Path], seed: int) -> list[str]:
    """Return the words of train.py for one arm; files that the arm names itself replace the plain ones."""
    words = arm.replace(AUGMENTED, str(files[AUGMENTED])).split()
    plain = {}
    for flag, path in files.items():
        if flag != AUGMENTED and flag not in words:
            plain[flag] = path
    return [
        "train.py",
        *RECIPES[name].split(),
        *("--report_to", "none"),
        *words,
        *as_words(plain),
        *("--seed", str(seed)),
    ]


def run_arm(command: list[str], out: Path) -> Metrics:
    """Train unless the run is finished; return its metrics and the processor `seconds` of the process."""
    cost = out / "processor_seconds.json"
    if not cost.exists():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_script(*command, "--output_dir", out, "--overwrite_output_dir", "true")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        write_json(cost, seconds)
        # Only the figures are wanted, and there are many runs.
        (out / "model.safetensors").unlink()
    return read_json(out / "metrics.json") | {"seconds": read_json(cost)}


def report(name: str, results: dict[str, list[Metrics]]) -> str:
    """Return the table: mean and spread of every arm, and its difference from the first arm, seed by seed."""
    metrics = METRICS[name]
    first = next(iter(results.values()))
    rows = []
    for arm, runs in results.items():
        cells = [spread([run[metric] for run in runs]) for metric in metrics]
        rows.append([arm, *cells, *compare_runs(runs, first, metrics[0])])
    headers = ["arm", *metrics, f"gain in {metrics[0]}", "seeds it wins", "processor time"]
    return f"{name}: {len(first)} seeds, mean +- standard deviation\n{table(rows, headers)}"


def compare_runs(runs: Sequence[Metrics], first: Sequence[Metrics], metric: str) -> list[str]:
    """Return the cells of an arm against the first arm: mean gain, seeds won, relative time."""
    gains = []
    costs = []
    for run, plain in zip(runs, first, strict=True):
        gains.append(run[metric] - plain[metric])
        costs.append(run["seconds"] / plain["seconds"])
    won = sum(gain > 0 for gain in gains)
    return [
        f"{statistics.mean(gains):+.4f}",
        f"{won} of {len(gains)}",
        f"{statistics.mean(costs):.2f}",
    ]


def run_study(name: str, arms: dict[str, str], args: argparse.Namespace) -> str:
    """Train every arm on a data set with every seed, and return the table."""
    files = prepare(name, args.shared, args.output_dir / "data" / name)
    results: dict[str, list[Metrics]] = {arm: [] for arm in arms}
    for seed in args.seeds:
        for arm, flags in arms.items():
            print(f"--- {name}, {arm}, seed {seed}", flush=True)
            command = training_command(name, flags, files, seed)
            out = args.output_dir / f"{name}-{arm.strip('+').replace(' ', '-')}-{seed}"
            results[arm].append(run_arm(command, out))
    return report(name, results)


def main() -> None:
    """Train every arm with every seed, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", choices=STUDIES, default="objectives")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data_sets", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/bench/ablation"))
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    arms = STUDIES[args.study]
    text = "\n\n".join(run_study(name, arms, args) for name in args.data_sets)
    (args.output_dir / f"{args.study}.txt").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
