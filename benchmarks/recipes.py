"""Train the recipes on published data: one table of test metrics, mean and spread over seeds, with reference results.

    python benchmarks/recipes.py --shared ../shared/data                        # everything; hours on 2 cores
    python benchmarks/recipes.py --shared ../shared/data --runs snips essays --seeds 42

The best epoch is chosen on validation rows, and test rows are reported. GoEmotions is reported on validation rows,
because its test part is not there. Finished runs in --output_dir are not repeated.
"""

import argparse
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from runs import run_script, spread

from trainer_ext.cross_validation.cross_fit import cross_fitted
from trainer_ext.evaluation.scoring import score
from trainer_ext.export.eval_rows import evaluation_rows
from trainer_ext.export.options import ExportOptions
from trainer_ext.files import read_json
from trainer_ext.inference import load_predictor
from trainer_ext.tables import table


@dataclass(frozen=True)
class Run:
    """A recipe, its files, the metrics to report, and a published result."""

    recipe: str
    files: tuple[str, ...]
    """Training, validation and test file, in SHARED (the published sets) or PARTS (what `split` makes)."""
    metrics: tuple[str, ...]
    reference: str
    split: tuple[str, ...] = ()
    """Source file and parts for benchmarks/split.py."""
    calibrated: bool = False
    """Whether thresholds are fitted on the reported rows. Each half is then also scored with those of the other."""


FILE_FLAGS = ("--train_file", "--validation_file", "--test_file")
HALVES = {"even": slice(0, None, 2), "odd": slice(1, None, 2)}
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
        "4-layer pretrained model: sentence accuracy 0.8234 on the official test part; this is another split",
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
    """Train unless the run is finished, and return its metrics."""
    out = folder / f"{name}-{seed}"
    if not (out / "metrics.json").is_file():
        parts = folder / "data" / name
        if run.split and not parts.is_dir():
            source, *sizes = run.split
            run_script("benchmarks/split.py", shared / source, parts, *sizes)
        run_script(
            *("train.py", f"configs/{run.recipe}.yaml", "--report_to", "none"),
            *file_flags(run, shared, parts),
            *("--seed", seed, "--output_dir", out, "--resume_from_checkpoint", "true"),
        )
    metrics = read_json(out / "metrics.json")
    if run.calibrated:
        metrics |= score_halves(out)
    return metrics


def file_flags(run: Run, shared: Path, parts: Path) -> list[str]:
    """Return the file flags of train.py; a data set without a test part has only the first two."""
    words = []
    for flag, file in zip(FILE_FLAGS, run.files, strict=False):
        path = file.replace("SHARED", str(shared)).replace("PARTS", str(parts))
        words += [flag, path]
    return words


def score_halves(model: Path) -> dict[str, float]:
    """Score each half of the validation rows with thresholds fitted on the other half.

    Returns:
        The means of both halves (even and odd rows), as `cross_fitted_METRIC`.
    """
    predictor = load_predictor(model, batch_size=256)
    rows = evaluation_rows(ExportOptions(model, model), predictor)
    scored = score(predictor, *rows)
    logits = {half: scored["logits"][own] for half, own in HALVES.items()}
    labels = {half: scored["labels"][own] for half, own in HALVES.items()}
    tasks = dict.fromkeys(HALVES, predictor.task)
    fitted = cross_fitted(tasks, logits, labels, "thresholds", len(HALVES))
    metrics = [task.compute_metrics(logits[half], labels[half]) for half, task in fitted.items()]
    means = {}
    for name in metrics[0]:
        means[f"cross_fitted_{name}"] = statistics.mean(half[name] for half in metrics)
    return means


def table_row(name: str, results: list[dict[str, float]]) -> list[str]:
    """Return the line of a run in the table."""
    run = RUNS[name]
    seen = []
    for metric in run.metrics:
        values = [result[metric] for result in results]
        seen.append(f"{metric} {spread(values)}")
    minutes = spread([result["train_runtime"] / 60 for result in results], digits=1)
    return [name, "; ".join(seen), minutes, run.reference]


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
    results: dict[str, list[dict[str, float]]] = {name: [] for name in args.runs}
    for seed in args.seeds:
        for name in args.runs:
            print(f"--- {name}, seed {seed}", flush=True)
            metrics = train(name, RUNS[name], seed, args.shared, args.output_dir)
            results[name].append(metrics)
    rows = [table_row(name, metrics) for name, metrics in results.items()]
    seeds = f"{len(args.seeds)} seed(s), mean +- standard deviation"
    print(f"\n{table(rows, ['run', seeds, 'minutes', 'reference'])}")


if __name__ == "__main__":
    main()
