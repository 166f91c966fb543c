"""What each method brings, and what it costs: one table per data set, over seeds.

    python benchmarks/ablation.py --study objectives --shared ../shared/data
    python benchmarks/ablation.py --study data --shared ../shared/data --data_sets reviews --seeds 1 2 3

Every arm is the plain recipe plus the flags below; the epoch is chosen on the validation rows, the test rows are
reported. SciCite: fixed samples of 1,000 training, 300 validation and 1,000 test rows, the packaged MiniLM encoder,
2 epochs. Reviews: 20 aspects, 60% training, 20% validation and 20% test rows of the file, an encoder from scratch, 10
epochs. EDA doubles the training rows. The cost is the processor time of the whole run, relative to that of
the first arm with the same seed. Seeds come in the outer loop; runs that are already there are not repeated.
"""

import argparse
import json
import os
import resource
import statistics
from pathlib import Path

from runs import run_script, spread

from trainer_ext.files import write_json
from trainer_ext.reports.tables import table

EDA = "the training file, augmented"
STUDIES = {
    "objectives": {
        "plain": [],
        "+Focal": ["--focal_gamma", "2"],
        "+class weights": ["--class_weights", "balanced"],
        "+R-Drop": ["--rdrop_alpha", "1"],
        "+FGM": ["--adversarial", "fgm", "--adversarial_epsilon", "0.5"],
        "+layer decay": ["--layer_wise_lr_decay", "0.8"],
        "all": [
            *("--focal_gamma", "2", "--focal_alpha", "balanced", "--rdrop_alpha", "1"),
            *(
                "--adversarial",
                "fgm",
                "--adversarial_epsilon",
                "0.5",
                "--layer_wise_lr_decay",
                "0.8",
            ),
        ],
    },
    "data": {
        "plain": [],
        "oversample": ["--balance", "oversample"],
        "undersample": ["--balance", "undersample"],
        "hybrid": ["--balance", "hybrid"],
        "EDA": ["--train_file", EDA],
        "head_tail": ["--truncation", "head_tail"],
    },
}
RECIPES = {
    "scicite": [
        *(
            "configs/scicite_minilm.yaml",
            "--class_weights",
            "none",
            "--max_length",
            "48",
            "--num_train_epochs",
            "2",
        ),
        *("--logging_steps", "20", "--learning_rate", "2e-4"),
    ],
    "reviews": [
        *(
            "configs/reviews_scratch.yaml",
            "--focal_gamma",
            "0",
            "--rdrop_alpha",
            "0",
            "--num_train_epochs",
            "10",
        ),
        *("--early_stopping_patience", "0", "--max_length", "128", "--learning_rate", "2e-3"),
    ],
}
REVIEWS = "aichallenger2018_fsa_zh/chinese_valid.part70.csv"
SOURCES = {  # (source, parts) for benchmarks/split.py
    "scicite": [
        *(
            (f"scicite/{file}.txt", [part])
            for file, part in (("train", "train=1000"), ("dev", "validation=300"))
        ),
        ("scicite/test.txt", ["test=1000"]),
    ],
    "reviews": [(REVIEWS, ["train=0.6", "validation=0.2", "test=0.2"])],
}
LANGUAGES = {"scicite": ("en", "text"), "reviews": ("zh", "content")}


def prepare(name: str, shared: Path, folder: Path) -> dict[str, str]:
    """The fixed parts of a data set and its augmented training file, made once: flags and their files."""
    if not (folder / "more.jsonl").is_file():
        for source, parts in SOURCES[name]:
            kind = ["--file_format", "jsonl"] if source.endswith(".txt") else []
            run_script("benchmarks/split.py", shared / source, folder, *parts, *kind)
        size = 2 * (folder / "train.jsonl").read_bytes().count(b"\n")
        language, column = LANGUAGES[name]
        run_script(
            *(
                "-m",
                "trainer_ext.data.augment",
                "--method",
                "eda",
                "--language",
                language,
                "--text_column",
                column,
            ),
            *(
                "--input",
                folder / "train.jsonl",
                "--output",
                folder / "more.jsonl",
                "--target_size",
                size,
                "--seed",
                1,
            ),
        )
    names = {
        "--train_file": "train",
        "--validation_file": "validation",
        "--test_file": "test",
        EDA: "more",
    }
    return {flag: str(folder / f"{part}.jsonl") for flag, part in names.items()}


def run_arm(command: list[str], out: Path) -> dict:
    """Train unless it is done; the metrics, and the processor seconds of the process."""
    cost = out / "processor_seconds.json"
    if not cost.exists():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_script(*command, "--output_dir", out, "--overwrite_output_dir", "true")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        write_json(cost, seconds)
        (out / "model.safetensors").unlink()  # only the figures are wanted
    return json.loads((out / "metrics.json").read_text()) | {
        "seconds": json.loads(cost.read_text())
    }


def report(name: str, results: dict[str, list[dict]], metrics: tuple[str, ...]) -> str:
    """Mean and spread of every arm, and its difference from the first one seed by seed."""
    first = next(iter(results.values()))
    rows = []
    for arm, runs in results.items():
        cells = [spread([run[metric] for run in runs]) for metric in metrics]
        gains = [
            run[metrics[0]] - plain[metrics[0]] for run, plain in zip(runs, first, strict=True)
        ]
        costs = [run["seconds"] / plain["seconds"] for run, plain in zip(runs, first, strict=True)]
        better = f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
        rows.append(
            [arm, *cells, f"{statistics.mean(gains):+.4f}", better, f"{statistics.mean(costs):.2f}"]
        )
    headers = ["arm", *metrics, f"gain in {metrics[0]}", "seeds it wins", "processor time"]
    return f"{name}: {len(first)} seeds, mean +- standard deviation\n{table(rows, headers)}"


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
    reports = []
    for name in args.data_sets:
        files = prepare(name, args.shared, args.output_dir / "data" / name)
        arms = STUDIES[args.study]
        results = {arm: [] for arm in arms}
        for seed in args.seeds:
            for arm, flags in arms.items():
                print(f"--- {name}, {arm}, seed {seed}", flush=True)
                given = {
                    flag: path for flag, path in files.items() if flag != EDA and flag not in flags
                }
                flags = [files.get(flag, flag) if flag == EDA else flag for flag in flags]
                command = ["train.py", *RECIPES[name], "--report_to", "none", *flags]
                command += [value for pair in given.items() for value in pair]
                out = args.output_dir / f"{name}-{arm.strip('+').replace(' ', '-')}-{seed}"
                results[arm].append(run_arm([*command, "--seed", str(seed)], out))
        metrics = ("test_f1_macro", "test_accuracy") + (
            ("test_exact_match",) if name == "reviews" else ()
        )
        reports.append(report(name, results, metrics))
    text = "\n\n".join(reports)
    (args.output_dir / f"{args.study}.txt").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
