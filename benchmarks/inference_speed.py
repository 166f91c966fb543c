"""Measure CPU inference side by side: `python benchmarks/inference_speed.py --texts reviews.txt`.

Two shapes of TinyBERT (4 x 312 and 6 x 768) with random weights, built from a config, answer the same texts, one line
each, in these ways, which take turns:

- what tutorials do, the 1.00 of the table: plain ONNX export, `quantize_dynamic`, every text padded to 128 tokens;
- PyTorch in float32, padded to 128;
- plain INT8 without padding;
- `load_predictor` on the folder that `export.py` writes, with one caller, and with two.

Figures are process CPU time, tokenising included, medians over rounds; two callers are compared by wall time. With
`--pooling cls` the last layer is computed for the first token only. The last line says how near `load_predictor` is to
the floor (`benchmarks/floor.py`): the time of the matrix products alone, if all ran as fast as a large one.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch
from floor import Rates, floor_ms, measure_rates
from runs import run_script
from side_by_side import (
    LENGTH,
    Answer,
    Inputs,
    export_plain,
    measure,
    one_by_one,
    run_plain,
    take_evenly,
    times_as_fast,
)
from transformers import AutoConfig, AutoModelForSequenceClassification

import trainer_ext  # noqa: F401  (registers the model class with transformers and Optimum)
from trainer_ext.data.io.answers import write_records
from trainer_ext.inference import load_predictor
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table

SHAPES = ("tinybert_4l", "tinybert_6l")


def build(shape: str, texts: Sequence[str], pooling: str, folder: Path) -> None:
    """Train two steps, export with the gate, and export the plain way: `checkpoint`, `ours`, `plain`."""
    rows = folder / "rows.jsonl"
    records = [{"text": text, "label": "ab"[number % 2]} for number, text in enumerate(texts)]
    write_records(str(rows), records)
    run_script(
        "train.py",
        "configs/debug_overfit.yaml",
        *("--task", "single_label", "--train_file", rows, "--validation_file", rows),
        *("--text_column", "text", "--label_columns", "label", "--pooling", pooling),
        *("--from_scratch", shape, "--vocab_size", "21128", "--max_length", LENGTH),
        *("--max_steps", "2", "--output_dir", folder / "checkpoint"),
    )
    run_script(
        "export.py",
        *(folder / "checkpoint", "--output_dir", folder / "ours"),
        *("--eval_file", rows, "--max_metric_drop", "100"),
    )
    export_plain(folder)


def with_onnxruntime(folder: Path, padded: bool) -> Answer:
    """Return what answers with the plain INT8 file, with ONNX Runtime's own settings, on one thread."""
    return one_by_one(run_plain(folder, "model_quantized.onnx", padded))


def with_torch(folder: Path) -> Answer:
    """Return what answers with the checkpoint, padded, on one thread."""
    torch.set_num_threads(1)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "checkpoint").eval()
    inputs = Inputs(folder, padded=True)

    @torch.inference_mode()
    def answer(texts: Sequence[str]) -> None:
        for text in texts:
            arrays = inputs(text)
            names = ("input_ids", "attention_mask")
            model(**{name: torch.from_numpy(arrays[name]) for name in names})

    return answer


def with_predictor(folder: Path, callers: int) -> Answer:
    """Return what answers through `load_predictor`."""
    predictor = load_predictor(folder / "ours", num_threads=callers)

    def answer(texts: Sequence[str]) -> None:
        for _ in predictor.predict_iter(texts):
            pass

    return answer


def rows_of(times: dict[str, list[float]]) -> list[tuple[str, float, float, float, float]]:
    """Return a line for each way: its median time, and how many times as fast as the first it is in each round."""
    first = next(iter(times.values()))
    rows = []
    for name, values in times.items():
        rows.append((name, statistics.median(values), *times_as_fast(values, first)))
    return rows


def floor_line(
    folder: Path, lengths: Sequence[int], pooling: str, rates: Rates, spent: float
) -> str:
    """Return how much of the milliseconds `spent` on a text the floor is, and how the floor was found."""
    config = AutoConfig.from_pretrained(folder / "checkpoint")
    floor = floor_ms(config.encoder, lengths, pooling == "cls", rates)
    measured = f"{rates.int8 / 1e9:.0f} GOPS in INT8, {rates.float32 / 1e9:.0f} GFLOP/s in float32"
    return f"load_predictor at {floor / spent:.2f} of the floor: {floor:.2f} ms a text ({measured})"


def main() -> None:
    """Build, measure, and print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=Path, required=True, help="real texts, one a line")
    parser.add_argument("--pooling", default="cls", choices=("cls", "mean"))
    parser.add_argument("--shapes", nargs="+", default=SHAPES, choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sample", type=int, default=96, help="texts in a round")
    args = parser.parse_args()

    texts = args.texts.read_text(encoding="utf-8").splitlines()
    sample = take_evenly(texts, args.sample)
    rates = measure_rates()
    print(f"{instruction_set()}, onnxruntime {onnxruntime.__version__}, torch {torch.__version__}")
    for shape in args.shapes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            build(shape, texts, args.pooling, folder)
            unpadded = Inputs(folder, padded=False)
            lengths = [unpadded(text)["input_ids"].size for text in sample]
            base = with_onnxruntime(folder, padded=True)
            one_thread = {
                "plain INT8, padded": base,
                "PyTorch float32, padded": with_torch(folder),
                "plain INT8": with_onnxruntime(folder, padded=False),
                "load_predictor": with_predictor(folder, 1),
            }
            by_cpu = measure(one_thread, sample, args.rounds, time.process_time)
            callers = {"plain INT8, padded": base, "load_predictor, 2": with_predictor(folder, 2)}
            by_wall = measure(callers, sample, args.rounds, time.perf_counter)
            tokens = f"{statistics.mean(lengths):.0f} tokens a text on average"
            print(f"\n{shape}, {args.pooling} pooling, {tokens}")
            headers = ("way", "ms a text", "times as fast", "least", "most")
            print(table(rows_of(by_cpu), headers, decimals=2))
            print(table(rows_of(by_wall), headers, decimals=2))
            spent = statistics.median(by_cpu["load_predictor"])
            print(floor_line(folder, lengths, args.pooling, rates, spent))


if __name__ == "__main__":
    main()
