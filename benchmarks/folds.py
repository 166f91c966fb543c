"""Train essays in 5 folds with MiniLM, and compare one fold, the mean of all and their soup on new rows.

    python benchmarks/folds.py --shared ../shared/data            # about an hour on 2 cores
    python benchmarks/folds.py --flags --num_train_epochs 1       # more flags for train.py

85% of the rows are divided into folds (`multilabel_stratified`), 5% choose what goes into the soup, and the last 10%
are new: nothing was trained or chosen on them, and they are scored here. Every model is exported through the gate. The
milliseconds per text are medians over the same texts, with the models taking turns. Whatever is finished in
--output_dir is kept.
"""

import argparse
import os
import statistics
from pathlib import Path

from runs import run_script

from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.labelled import texts_and_labels
from trainer_ext.evaluation.scoring import score
from trainer_ext.export.latency import latencies_ms
from trainer_ext.files import read_json
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.tables import table

SOURCE = "ellipse/ellipse_part70.csv.gz"
TEXT_COLUMN = "full_text"
PARTS = ("folds=0.85", "soup=0.05", "new=0.1")
FOLDS = tuple(f"fold-{k}" for k in range(5))
TOGETHER = f"mean of {len(FOLDS)} folds"
KINDS = {"fp32": "model.onnx", "INT8": "model_quantized.onnx"}


def train(folder: Path, shared: Path, flags: list[str]) -> None:
    """Divide the rows, and train the folds and the soup; what exists is kept."""
    data = folder / "data"
    if not data.is_dir():
        run_script("benchmarks/split.py", shared / SOURCE, data, *PARTS)
    run_script(
        *("train.py", "configs/essays_minilm.yaml", "--report_to", "none"),
        *("--train_file", data / "folds.jsonl", "--folds", len(FOLDS)),
        *("--fold_strategy", "multilabel_stratified", "--num_fold_workers", 2),
        *("--validation_file", data / "soup.jsonl", "--soup", "true"),
        *("--output_dir", folder / "cv", *flags),
    )


def export(folder: Path) -> None:
    """Export every fold and the soup through the gate; what exists is kept."""
    for name in (*FOLDS, "soup"):
        out = folder / "onnx" / name
        if (out / "export_report.json").is_file():
            continue
        command = ["export.py", folder / "cv" / name, "--output_dir", out]
        if name == "soup":
            command += ["--eval_file", folder / "data" / "soup.jsonl"]
        # Status 1: INT8 lost too much. The table says so.
        run_script(*command, statuses=(0, 1))


def load_models(folder: Path, kind: str) -> dict[str, Predictor]:
    """Load every fold, all of them together, and the soup, in one precision."""
    file_name = KINDS[kind]
    models = {}
    for name in (*FOLDS, "soup"):
        models[f"{name} {kind}"] = load_predictor(folder / "onnx" / name, file_name=file_name)
    folds = [folder / "onnx" / name for name in FOLDS]
    models[f"{TOGETHER} {kind}"] = load_predictor(folds, file_name=file_name, ensemble="mean")
    return models


def members_of(model: str) -> tuple[str, ...]:
    """Return the exported folders that a model of the table consists of."""
    return FOLDS if model == TOGETHER else (model,)


def megabytes(folder: Path, model: str, kind: str) -> float:
    """Return the size of a model's files."""
    files = [folder / "onnx" / member / KINDS[kind] for member in members_of(model)]
    return sum(file.stat().st_size for file in files) / 1e6


def count_passed(folder: Path, model: str) -> str:
    """Return how many of a model's INT8 files passed the gate."""
    members = members_of(model)
    reports = [read_json(folder / "onnx" / member / "export_report.json") for member in members]
    passed = sum(report["passed"] for report in reports)
    return f"{passed} of {len(reports)}"


def compare(folder: Path, texts_timed: int) -> str:
    """Score and time every model on the new rows, and return the table."""
    models = load_models(folder, "fp32") | load_models(folder, "INT8")
    rows = read_rows(str(folder / "data" / "new.jsonl"))
    task = next(iter(models.values())).task
    texts, labels = texts_and_labels(rows, TEXT_COLUMN, task)
    metrics = {}
    for name, predictor in models.items():
        metrics[name] = score(predictor, texts, labels, name)["metrics"]["mcrmse"]
    times = latencies_ms(models, [[text] for text in texts[:texts_timed]])
    lines = []
    for name in models:
        model, kind = name.rsplit(" ", 1)
        size = megabytes(folder, model, kind)
        passed = count_passed(folder, model) if kind == "INT8" else ""
        milliseconds = statistics.median(times[name])
        lines.append([name, f"{metrics[name]:.4f}", f"{size:.1f}", f"{milliseconds:.1f}", passed])
    headers = ["model", f"MCRMSE, {len(texts)} new rows", "MB", "ms per text", "passed the gate"]
    return table(lines, headers)


def main() -> None:
    """Train, export, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/bench/folds"))
    parser.add_argument("--texts_timed", type=int, default=60)
    parser.add_argument(
        "--flags", nargs=argparse.REMAINDER, default=[], help="more flags for train.py, at the end"
    )
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    train(args.output_dir, args.shared, args.flags)
    export(args.output_dir)
    result = compare(args.output_dir, args.texts_timed)
    cv = read_json(args.output_dir / "cv" / "cv.json")
    out_of_fold = f"{cv['oof']['mcrmse']:.4f}"
    folds = f"{cv['mean']['mcrmse']:.4f} +- {cv['std']['mcrmse']:.4f}"
    print(f"\nMCRMSE of all out-of-fold predictions {out_of_fold}; of the folds {folds}\n{result}")


if __name__ == "__main__":
    main()
