"""What INT8 costs on rows that neither the training nor the gate has seen: short trainings on real data, then exports.

    python benchmarks/int8_metric.py --shared ../shared/data --runs snips titles reviews hotels
    python benchmarks/int8_metric.py --runs titles_e5 --encoders titles_e5=path/to/multilingual-e5-small

- snips: intents and slots, MiniLM, 2 epochs of 6,000 training rows; the published validation and test rows, and as
  `unseen` the other 7,084 training rows, because 700 test rows show little: one is 0.14 points.
- titles: THUCNews, 10 classes, 20,000 titles from scratch, 3 epochs; the published validation titles are cut into 2,000
  for the gate and 8,000 for the test.
- reviews: AI Challenger 2018, 20 aspects, from scratch, 10 epochs; 60% of the file, 20% for the gate, 20% for the test.
- hotels: hotel reviews (ChnSentiCorp), 2 classes, 5,000 from scratch, 4 epochs; 700 for the gate, 1,250 for the test.
- titles_e5: multilingual-e5-small, 3,000 titles, 1 epoch; 300 for the gate and 3,000 for the test.

Each model is exported with the default gate on its validation rows. Then PyTorch, ONNX and INT8 answer the test rows.
Finished trainings and exports in --output_dir are not repeated.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import run_script

from trainer_ext.evaluation.scoring import score
from trainer_ext.export.bootstrap import measure_loss
from trainer_ext.export.deltas import Delta, all_deltas
from trainer_ext.export.eval_rows import EvalRows, evaluation_rows
from trainer_ext.export.options import ExportOptions
from trainer_ext.files import read_json
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table


@dataclass(frozen=True)
class Run:
    """A short training: the words of train.py, the parts of each published file, and the metrics to compare."""

    flags: str
    sources: dict[str, tuple[str, ...]]
    metrics: tuple[str, ...]


RUNS = {
    "snips": Run(
        "configs/snips_minilm.yaml --num_train_epochs 2",
        # A size of 1 is the whole file.
        {
            "snips/train.txt": ("train=6000", "unseen=7084", "--task", "joint"),
            "snips/dev.txt": ("validation=1", "--task", "joint"),
            "snips/test.txt": ("test=1", "--task", "joint"),
        },
        ("sentence_accuracy", "intent_accuracy", "slot_f1"),
    ),
    "titles": Run(
        "configs/news_scratch.yaml --num_train_epochs 3 --precision auto",
        {
            "thucnews10/train_45k.txt.gz": ("train=20000",),
            "thucnews10/dev.txt": ("validation=2000", "test=8000"),
        },
        ("f1_macro", "accuracy"),
    ),
    "reviews": Run(
        "configs/reviews_scratch.yaml --focal_gamma 0 --rdrop_alpha 0 --num_train_epochs 10 "
        "--early_stopping_patience 0 --max_length 128 --learning_rate 2e-3",
        {
            "aichallenger2018_fsa_zh/chinese_valid.part70.csv": (
                "train=0.6",
                "validation=0.2",
                "test=0.2",
            ),
        },
        ("f1_macro", "accuracy"),
    ),
    "hotels": Run(
        "configs/news_scratch.yaml --text_column review --label_names negative=0 positive=1 --rdrop_alpha 0 "
        "--max_length 128 --num_train_epochs 4 --precision auto",
        # One of the rows left over has no text.
        {
            "chnsenticorp_htl/ChnSentiCorp_htl_all.csv.gz": (
                "train=5000",
                "validation=700",
                "test=1250",
            ),
        },
        ("f1_macro", "accuracy"),
    ),
    "titles_e5": Run(
        "configs/news_bert.yaml --model_name_or_path intfloat/multilingual-e5-small --pooling mean --rdrop_alpha 0 "
        "--num_train_epochs 1 --learning_rate 2e-4 --per_device_train_batch_size 32 --max_length 64",
        {
            "thucnews10/train_45k.txt.gz": ("train=3000",),
            "thucnews10/dev.txt": ("validation=300", "test=3000"),
        },
        ("f1_macro", "accuracy"),
    ),
}
COMPARED = ("test", "unseen")
FILES = {"onnx": "model.onnx", "int8": "model_quantized.onnx"}
METRIC_HEADERS = (
    "run",
    "part",
    "rows",
    "metric",
    "PyTorch",
    "ONNX",
    "INT8",
    "points lost (95%)",
    "other answers",
)
GATE_HEADERS = ("run", "metric", "rows", "points lost (95%)", "passed", "MB", "setting")


def prepare(name: str, shared: Path, folder: Path) -> Path:
    """Cut the published files into parts unless that is done, and return their folder."""
    data = folder / "data" / name
    if not (data / "test.jsonl").is_file():
        for source, words in RUNS[name].sources.items():
            run_script("benchmarks/split.py", shared / source, data, *words)
    return data


def train(name: str, data: Path, model: Path, encoder: str | None) -> None:
    """Train unless the run is finished."""
    if (model / "metrics.json").is_file():
        return
    words = RUNS[name].flags.split()
    if encoder:
        words += ["--model_name_or_path", encoder]
    for part in ("train", "validation", "test"):
        words += [f"--{part}_file", str(data / f"{part}.jsonl")]
    place = ("--output_dir", model, "--overwrite_output_dir", "true")
    run_script("train.py", *words, *place, "--report_to", "none")


def export(model: Path, out: Path) -> dict[str, Any]:
    """Export through the default gate unless that is done, and return the report."""
    report = out / "export_report.json"
    if not report.is_file():
        # Status 1: INT8 was refused. The table says so.
        run_script("export.py", model, "--output_dir", out, statuses=(0, 1))
    return read_json(report)


def compare(name: str, model: Path, out: Path, data: Path) -> list[tuple[str, ...]]:
    """Answer each part that neither training nor gate has seen; return a line for each part and metric."""
    pytorch = load_predictor(model, num_threads=1)
    exported = {}
    for kind, file_name in FILES.items():
        exported[kind] = load_predictor(out, num_threads=1, file_name=file_name)
    lines = []
    for part in COMPARED:
        file = data / f"{part}.jsonl"
        if file.is_file():
            rows = evaluation_rows(ExportOptions(model, out, eval_file=str(file)), pytorch)
            lines += compare_on(rows, RUNS[name].metrics, pytorch, exported, (name, part))
    return lines


def compare_on(
    rows: EvalRows,
    metrics: Sequence[str],
    pytorch: Predictor,
    exported: dict[str, Predictor],
    place: tuple[str, str],
) -> list[tuple[str, ...]]:
    """Return a line for each metric: before, after, the loss with its bounds, and how many rows are answered otherwise.

    Args:
        rows: texts and labels.
        metrics: names.
        pytorch: what the files are compared with.
        exported: answers with each file, by the keys of FILES.
        place: the first cells of each line.
    """
    task = pytorch.task
    reference = score(pytorch, *rows)
    scored = {}
    for kind, predictor in exported.items():
        scored[kind] = score(predictor, *rows)
    logits = scored["int8"]["logits"]
    labels = reference["labels"]
    loss = measure_loss(task, logits, reference["logits"], labels)
    changes: dict[str, Delta] = {}
    for delta in all_deltas(task, logits, reference["logits"], labels):
        changes[delta.metric] = delta
    lines: list[tuple[str, ...]] = []
    for metric in metrics:
        change = changes[metric]
        line = (
            *place,
            str(loss.rows),
            metric,
            f"{change.before:.4f}",
            f"{scored['onnx']['metrics'][metric]:.4f}",
            f"{change.after:.4f}",
            lost_cell(change.loss_points, change.loss_low, change.loss_high),
            str(loss.changed),
        )
        lines.append(line)
    return lines


def gate_line(name: str, report: dict[str, Any]) -> tuple[str, ...]:
    """Return what the gate said of INT8 on the validation rows."""
    by_name = {variant["name"]: variant for variant in report["variants"]}
    int8 = by_name["int8"]
    loss = int8["loss"]
    size = f"{int8['bytes'] / 1e6:.2f} of {by_name['pytorch']['bytes'] / 1e6:.2f}"
    return (
        name,
        report["metric_name"],
        str(report["eval_rows"]),
        lost_cell(loss["points"], loss["low"], loss["high"]),
        str(report["passed"]),
        size,
        int8["setting"],
    )


def lost_cell(points: float, low: float, high: float) -> str:
    """Format a loss with its bounds."""
    return f"{points:.2f} ({low:.2f} to {high:.2f})"


def parse_encoders(words: list[str]) -> dict[str, str]:
    """Turn `titles_e5=FOLDER` into the run and its folder."""
    encoders = {}
    for word in words:
        name, _, folder = word.partition("=")
        if name not in RUNS or not folder:
            raise SystemExit(
                f"--encoders {word}: expected RUN=FOLDER, RUN one of {', '.join(RUNS)}"
            )
        encoders[name] = folder
    return encoders


def main() -> None:
    """Train, export, compare; then print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--runs", nargs="+", choices=RUNS, default=["snips", "titles", "reviews", "hotels"]
    )
    parser.add_argument("--encoders", nargs="+", default=[], metavar="RUN=FOLDER")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/bench/int8_metric"))
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    encoders = parse_encoders(args.encoders)
    metric_lines: list[tuple[str, ...]] = []
    gate_lines = []
    for name in args.runs:
        data = prepare(name, args.shared, args.output_dir)
        model = args.output_dir / name
        out = args.output_dir / f"{name}-onnx"
        train(name, data, model, encoders.get(name))
        gate_lines.append(gate_line(name, export(model, out)))
        metric_lines += compare(name, model, out, data)
    print(f"\n{instruction_set()}\n\n{table(metric_lines, METRIC_HEADERS)}")
    print(f"\nThe gate, on the validation rows:\n{table(gate_lines, GATE_HEADERS)}")


if __name__ == "__main__":
    main()
