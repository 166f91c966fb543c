"""The recipes on published data: one table of test metrics, mean and spread over seeds, beside the reference results.

    python benchmarks/recipes.py --shared ../shared/data                        # everything; hours on 2 cores
    python benchmarks/recipes.py --shared ../shared/data --runs snips essays --seeds 42

The best epoch is chosen on validation rows and test rows are reported; where no test part is published (GoEmotions),
the validation rows are. Runs that are already in --output_dir are not repeated.
"""

import argparse
import json
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from runs import run_script, spread

from trainer_ext.cross_validation.cross_fit import cross_fitted
from trainer_ext.evaluation.scoring import score
from trainer_ext.export.eval_rows import evaluation_rows
from trainer_ext.export.options import ExportOptions
from trainer_ext.inference import load_predictor
from trainer_ext.tables import table


@dataclass(frozen=True)
class Run:
    """A recipe, its files, the metrics to report, and what is known about the data set."""

    recipe: str
    files: tuple[str, ...]  # train, validation, test; from SHARED, or from PARTS where split below
    metrics: tuple[str, ...]
    reference: str
    split: tuple[str, ...] = ()  # source file and parts for benchmarks/split.py
    calibrated: bool = (
        False  # on the rows that are reported: so each half also with what the other half fits
    )


SNIPS = tuple(f"SHARED/snips/{part}.txt" for part in ("train", "dev", "test"))
PARTS = tuple(f"PARTS/{part}.jsonl" for part in ("train", "validation", "test"))
SLU = ("test_intent_accuracy", "test_slot_f1", "test_sentence_accuracy")
RUNS = {
    "snips": Run(
        "snips_minilm",
        SNIPS,
        SLU,
        "BERT-base, best of epochs: slot F1 0.969, sentence accuracy 0.930",
    ),
    "essays": Run(
        "essays_minilm",
        PARTS,
        ("test_mcrmse", "test_pearson"),
        "TF-IDF ridge 0.531, column means 0.645 (MCRMSE)",
        ("ellipse/ellipse_part70.csv.gz", "train=0.72", "validation=0.08", "test=0.2"),
    ),
    "goemotions": Run(
        "goemotions_minilm",
        ("SHARED/goemotions/train.tsv.gz", "SHARED/goemotions/dev.tsv"),
        ("eval_f1_macro", "cross_fitted_f1_macro", "cross_fitted_f1_micro"),
        "BERT-base-cased, threshold 0.3: macro-F1 0.502 on dev",
        calibrated=True,
    ),
    "scicite": Run(
        "scicite_minilm",
        tuple(f"SHARED/scicite/{part}.txt" for part in ("train", "dev", "test")),
        ("test_accuracy", "test_f1_macro"),
        "BERT-base: accuracy 0.856 to 0.858, macro-F1 0.839 to 0.842",
    ),
    "banking77": Run(
        "banking77_minilm",
        ("PARTS/train.jsonl", "PARTS/validation.jsonl", "SHARED/banking77/test.csv"),
        ("test_accuracy", "test_f1_macro"),
        "none published with the data",
        ("banking77/train.csv", "train=0.9", "validation=0.1"),
    ),
    "snips_scratch": Run("slu_tiny", SNIPS, SLU, "as above; this encoder is not pretrained"),
    "nlpcc": Run(
        "slu_tiny",
        PARTS,
        SLU,
        "4-layer pretrained model: sentence accuracy 0.8234 on the official test part; this split is another one",
        (
            "nlpcc2018_task4/corpus.train.txt",
            "train=0.8",
            "validation=0.1",
            "test=0.1",
            "--task",
            "joint",
        ),
    ),
}


def train(name: str, run: Run, seed: int, shared: Path, folder: Path) -> dict[str, float]:
    """The metrics of one run, trained unless it is done."""
    out, parts = folder / f"{name}-{seed}", folder / "data" / name
    if not (out / "metrics.json").is_file():
        if run.split and not parts.is_dir():
            source, *sizes = run.split
            run_script("benchmarks/split.py", shared / source, parts, *sizes)
        files = [
            file.replace("SHARED", str(shared)).replace("PARTS", str(parts)) for file in run.files
        ]
        flags = ("--train_file", "--validation_file", "--test_file")
        command = ["train.py", f"configs/{run.recipe}.yaml", "--report_to", "none"]
        command += [value for pair in zip(flags, files, strict=False) for value in pair]
        command += [
            "--seed",
            str(seed),
            "--output_dir",
            str(out),
            "--resume_from_checkpoint",
            "true",
        ]
        run_script(*command)
    metrics = json.loads((out / "metrics.json").read_text())
    return metrics | (with_other_thresholds(out) if run.calibrated else {})


def with_other_thresholds(model: Path) -> dict[str, float]:
    """Metrics of each half of the validation rows (even and odd ones) with thresholds of the other; their mean."""
    predictor = load_predictor(model, batch_size=256)
    rows = evaluation_rows(ExportOptions(model, model, None, 0.0, None, False), predictor)
    scored, halves = score(predictor, *rows), {"even": slice(0, None, 2), "odd": slice(1, None, 2)}
    logits, labels = (
        {half: scored[what][own] for half, own in halves.items()} for what in ("logits", "labels")
    )
    tasks = cross_fitted(
        dict.fromkeys(halves, predictor.task), logits, labels, "thresholds", len(halves)
    )
    metrics = [task.compute_metrics(logits[half], labels[half]) for half, task in tasks.items()]
    return {
        f"cross_fitted_{name}": statistics.mean(half[name] for half in metrics)
        for name in metrics[0]
    }


def main() -> None:
    """Train, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/bench/recipes"))
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    results = {name: [] for name in args.runs}
    for seed in args.seeds:
        for name in args.runs:
            print(f"--- {name}, seed {seed}", flush=True)
            results[name].append(train(name, RUNS[name], seed, args.shared, args.output_dir))
    rows = []
    for name, runs in results.items():
        seen = "; ".join(
            f"{metric} {spread([run[metric] for run in runs])}" for metric in RUNS[name].metrics
        )
        minutes = spread([run["train_runtime"] / 60 for run in runs], 1)
        rows.append([name, seen, minutes, RUNS[name].reference])
    print(
        f"\n{table(rows, ['run', f'{len(args.seeds)} seed(s), mean +- standard deviation', 'minutes', 'reference'])}"
    )


if __name__ == "__main__":
    main()
