"""Rows tokenised per second, side by side in one process: `python benchmarks/tokenising_speed.py`.

Titles (about 20 Chinese characters; made from the sample reviews, all different) go through the pipeline as train.py
runs it: file -> checked rows -> data set -> token ids, unpadded, in batches, in `--workers` processes, into the cache
file of `datasets`. Beside it what notebooks do: `Dataset.__getitem__` with a tokenizer call a row, padded to
max_length 128. The two take turns on the same sample; the ratio is the median over rounds, and needs free cores: the
notebook uses one, the pipeline `--workers`. The whole file is streamed once more (`--streaming`), and the peak memory
after a tenth of the rows is held against the peak after all.
"""

import argparse
import random
import resource
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import datasets
import torch

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.dataset import build_dataset, load_rows
from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.labelled import label_space
from trainer_ext.data.preprocessing.tokenize import encoder, tokenize
from trainer_ext.data.streaming import StreamedDataset, StreamedRows, TokenStream
from trainer_ext.modeling.scratch import train_tokenizer
from trainer_ext.tables import table
from trainer_ext.tasks import TASKS

REVIEWS = Path(__file__).resolve().parent.parent / "data/reviews/train.csv"
MAX_LENGTH = 128


class Notebook(torch.utils.data.Dataset):
    """The usual data set of tutorials."""

    def __init__(self, texts: list[str], labels: list[int], tokenizer):
        self.texts, self.labels, self.tokenizer = texts, labels, tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        encoded = self.tokenizer(
            self.texts[row],
            max_length=MAX_LENGTH,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        return {name: value.squeeze(0) for name, value in encoded.items()} | {
            "labels": torch.tensor(self.labels[row])
        }


def write_titles(path: Path, count: int) -> None:
    """`title<TAB>label` lines."""
    clauses = [
        part
        for row in read_rows(str(REVIEWS))
        for part in row.values["reviewbody"].replace("，", "。").split("。")
    ]
    clauses = [" ".join(part.split()) for part in clauses if 6 <= len(part) <= 14]
    generator = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            file.write(
                f"{generator.choice(clauses)}{number} {generator.choice(clauses)}\t{number % 10}\n"
            )


def peak() -> int:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def seconds(action) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def side_by_side(
    data: datasets.Dataset, tokenizer, workers: int, rounds: int, sample: int
) -> list[tuple[float, float]]:
    """(rows a second of the pipeline, of the notebook) in each round; the notebook sees only `sample` rows."""
    notebook = Notebook(list(data["text"][:sample]), list(data["labels"][:sample]), tokenizer)
    speeds = []
    for turn in range(rounds + 1):
        ours = seconds(
            partial(tokenize, data, tokenizer, MAX_LENGTH - 1 - turn, workers)
        )  # another key: no cache
        theirs = seconds(lambda: [notebook[row] for row in range(len(notebook))])
        if turn:  # the first round warms up
            speeds.append((len(data) / ours, len(notebook) / theirs))
    return speeds


def main() -> None:
    """Print rows per second, the ratio, and the memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--titles", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--sample", type=int, default=200_000, help="rows of the side-by-side rounds"
    )
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder)
        path = Path(folder) / "titles.txt"
        write_titles(path, args.titles)
        data = DataArguments(train_file=str(path), streaming=True)
        task = TASKS["single_label"](label_space(StreamedRows(data), ["label"], None))
        texts = [
            row.values["text"] for row, _ in zip(StreamedRows(data), range(20_000), strict=False)
        ]
        tokenizer = train_tokenizer(texts, 8000, MAX_LENGTH)

        stream = TokenStream(StreamedDataset(data, task), encoder(tokenizer, MAX_LENGTH), seed=1)
        start, memory = time.perf_counter(), {}
        for number, _ in enumerate(stream, 1):
            if number in (args.titles // 10, args.titles):
                memory[number] = peak()
        streamed = args.titles / (time.perf_counter() - start)

        small = DataArguments(train_file=str(path), max_train_samples=args.sample)
        sample = build_dataset(load_rows(small, "train"), small, task)
        rounds = side_by_side(sample, tokenizer, args.workers, args.rounds, 3000)
        start = time.perf_counter()
        built = build_dataset(load_rows(data, "train"), data, task)
        read = time.perf_counter() - start
        whole = seconds(lambda: tokenize(built, tokenizer, MAX_LENGTH, args.workers))
    ours, theirs = (statistics.median(speed) for speed in zip(*rounds, strict=True))
    ratios = sorted(a / b for a, b in rounds)
    rows = [
        ["pipeline, side by side", f"{ours:.0f}"],
        ["a row at a time, padded to 128, side by side", f"{theirs:.0f}"],
        [f"pipeline, {args.titles} titles: reading and checking", f"{args.titles / read:.0f}"],
        [f"pipeline, {args.titles} titles: tokenising", f"{args.titles / whole:.0f}"],
        [f"streamed, {args.titles} titles: reading, checking and tokenising", f"{streamed:.0f}"],
    ]
    print(table(rows, ["what", "rows/s"]))
    print(
        f"pipeline / a row at a time: {statistics.median(ratios):.1f}  (rounds {ratios[0]:.1f} to {ratios[-1]:.1f}; "
        f"{args.workers} processes; at least 10 wanted)"
    )
    print(
        "peak memory, streamed: "
        + ", ".join(f"{mb} MB after {number} rows" for number, mb in memory.items())
    )
    print(f"peak memory with all {args.titles} rows at once: {peak()} MB")


if __name__ == "__main__":
    main()
