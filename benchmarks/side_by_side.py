"""What the benchmarks of inference share: inputs, the plain export, and ways that take turns."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

LENGTH = 128  # tokens: longer texts are cut, and "padded" means padded to this
Item = TypeVar("Item")
Answer = Callable[[Sequence[str]], None]


class Inputs:
    """Token ids and mask of a text, padded or not; arrays (1, L)."""

    def __init__(self, folder: Path, padded: bool):
        self.tokenizer = Tokenizer.from_file(str(folder / "checkpoint/tokenizer.json"))
        self.tokenizer.enable_truncation(LENGTH)
        self.tokenizer.no_padding()
        if padded:
            self.tokenizer.enable_padding(length=LENGTH)

    def __call__(self, text: str) -> dict[str, np.ndarray]:
        encoding = self.tokenizer.encode(text)
        return {
            "input_ids": np.array([encoding.ids], np.int64),
            "attention_mask": np.array([encoding.attention_mask], np.int64),
            "token_type_ids": np.array([encoding.type_ids], np.int64),
        }


def export_plain(folder: Path) -> None:
    """Export `checkpoint` as tutorials do: `plain/model.onnx`, and `plain/model_quantized.onnx` in INT8."""
    from onnxruntime.quantization import quantize_dynamic
    from optimum.onnxruntime import ORTModelForSequenceClassification

    plain = ORTModelForSequenceClassification.from_pretrained(folder / "checkpoint", export=True)
    plain.save_pretrained(folder / "plain")
    quantize_dynamic(folder / "plain/model.onnx", folder / "plain/model_quantized.onnx")


def one_thread() -> onnxruntime.SessionOptions:
    """Return ONNX Runtime's own settings, but on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def run_plain(folder: Path, file_name: str, padded: bool) -> Callable[[str], np.ndarray]:
    """Return what runs a file of the plain export on one thread: from a text to logits (1, C)."""
    session = onnxruntime.InferenceSession(str(folder / "plain" / file_name), one_thread())
    names = [item.name for item in session.get_inputs()]
    inputs = Inputs(folder, padded)

    def logits(text: str) -> np.ndarray:
        arrays = inputs(text)
        (found,) = session.run(None, {name: arrays[name] for name in names})
        return found

    return logits


def one_by_one(answer: Callable[[str], object]) -> Answer:
    """Return what answers one text after another."""

    def answer_all(texts: Sequence[str]) -> None:
        for text in texts:
            answer(text)

    return answer_all


def take_evenly(items: Sequence[Item], count: int) -> Sequence[Item]:
    """Return `count` items, evenly spaced; all if there are no more."""
    step = max(1, len(items) // count)
    return items[::step][:count]


def measure(
    ways: dict[str, Answer], texts: Sequence[str], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return the milliseconds a text of each way, one value a round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, answer in ways.items():
            start = clock()
            answer(texts)
            # The first round warms up.
            if turn > 0:
                times[name].append(1000 * (clock() - start) / len(texts))
    return times


def times_as_fast(times: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Return how many times as fast as `base` something is: the median, least and most over the rounds."""
    ratios = [other / own for own, other in zip(times, base, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)
