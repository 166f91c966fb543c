"""Essays in 5 folds with MiniLM: out-of-fold MCRMSE, then one fold, the mean of all, and their soup on new rows.

    python benchmarks/folds.py --shared ../shared/data            # about an hour on 2 cores
    python benchmarks/folds.py --flags --num_train_epochs 1       # more flags for train.py

85% of the rows are divided into folds (`multilabel_stratified`), 5% choose what goes into the soup, and on 10% nothing
was trained or chosen: they are scored here. Every model is exported through the gate; the milliseconds of one text are
medians over the same texts, all models taking turns. What is finished in --output_dir is kept.
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

SOURCE, TEXT = "ellipse/ellipse_part70.csv.gz", "full_text"
PARTS = ("folds=0.85", "soup=0.05", "new=0.1")
FOLDS = tuple(f"fold-{k}" for k in range(5))
TOGETHER = f"mean of {len(FOLDS)} folds"
KINDS = {"fp32": "model.onnx", "INT8": "model_quantized.onnx"}


def train(folder: Path, shared: Path, flags: list[str]) -> None:
    """Divide the rows, train the folds and the soup, export everything; what is there already is kept."""
    data, cv = folder / "data", folder / "cv"
    if not data.is_dir():
        run_script("benchmarks/split.py", shared / SOURCE, data, *PARTS)
    run_script(
        *(
            "train.py",
            "configs/essays_minilm.yaml",
            "--train_file",
            data / "folds.jsonl",
            "--report_to",
            "none",
        ),
        *("--validation_file", data / "soup.jsonl", "--soup", "true", "--output_dir", cv),
        *(
            "--folds",
            len(FOLDS),
            "--fold_strategy",
            "multilabel_stratified",
            "--num_fold_workers",
            "2",
            *flags,
        ),
    )
    for name in (*FOLDS, "soup"):
        out = folder / "onnx" / name
        if not (out / "export_report.json").is_file():
            rows = ("--eval_file", data / "soup.jsonl") if name == "soup" else ()
            run_script(
                "export.py", cv / name, "--output_dir", out, *rows, statuses=(0, 1)
            )  # 1: INT8 lost too much


def compared(folder: Path, kind: str) -> dict[str, Predictor]:
    """Every fold, all of them together, and the soup, in one precision."""
    paths = {name: folder / "onnx" / name for name in (*FOLDS, "soup")}
    models = {
        f"{name} {kind}": load_predictor(path, file_name=KINDS[kind])
        for name, path in paths.items()
    }
    together = load_predictor(
        [paths[name] for name in FOLDS], file_name=KINDS[kind], ensemble="mean"
    )
    return models | {f"{TOGETHER} {kind}": together}


def members_of(model: str) -> tuple[str, ...]:
    """The exported folders that a line of the table is about."""
    return FOLDS if model == TOGETHER else (model,)


def megabytes(folder: Path, name: str) -> float:
    """What the files of one line of the table take."""
    model, kind = name.rsplit(" ", 1)
    return (
        sum((folder / "onnx" / member / KINDS[kind]).stat().st_size for member in members_of(model))
        / 1e6
    )


def gate(folder: Path, name: str) -> str:
    """How many of a line's INT8 files passed the export gate."""
    model, kind = name.rsplit(" ", 1)
    reports = [
        read_json(folder / "onnx" / member / "export_report.json") for member in members_of(model)
    ]
    return (
        f"{sum(report['passed'] for report in reports)} of {len(reports)}" if kind == "INT8" else ""
    )


def compare(folder: Path, texts_timed: int) -> str:
    """The table of every model on the new rows."""
    models = compared(folder, "fp32") | compared(folder, "INT8")
    rows = read_rows(str(folder / "data" / "new.jsonl"))
    texts, labels = texts_and_labels(rows, TEXT, next(iter(models.values())).task)
    metrics = {
        name: score(model, texts, labels, name)["metrics"]["mcrmse"]
        for name, model in models.items()
    }
    times = latencies_ms(models, [[text] for text in texts[:texts_timed]])
    lines = [
        [
            *(name, f"{metrics[name]:.4f}", f"{megabytes(folder, name):.1f}"),
            *(f"{statistics.median(times[name]):.1f}", gate(folder, name)),
        ]
        for name in models
    ]
    headers = ["model", f"MCRMSE, {len(texts)} new rows", "MB", "ms per text", "passed the gate"]
    return table(lines, headers)


def main() -> None:
    """Train, compare, print."""
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
    result = compare(args.output_dir, args.texts_timed)
    cv = read_json(args.output_dir / "cv" / "cv.json")
    folds = f"{cv['mean']['mcrmse']:.4f} +- {cv['std']['mcrmse']:.4f}"
    print(
        f"\nMCRMSE of all out-of-fold predictions {cv['oof']['mcrmse']:.4f}; of the folds {folds}\n{result}"
    )


if __name__ == "__main__":
    main()
