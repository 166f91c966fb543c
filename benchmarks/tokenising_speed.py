"""Measure rows tokenised per second, side by side in one process: `python benchmarks/tokenising_speed.py`.

Titles (about 20 Chinese characters, made from the sample reviews, all different) go through the pipeline as in
train.py: file -> checked rows -> data set -> token ids, unpadded, in batches, in `--workers` processes, into the cache
file of `datasets`. Next to it runs what notebooks do: `Dataset.__getitem__` with one tokenizer call per row, padded to
128 tokens. Both take turns on the same sample, and the ratio is the median over rounds. It needs free cores: the
notebook uses one, the pipeline `--workers`.

Then the whole file is streamed (`--streaming`), and the peak memory after a tenth of the rows is compared with the peak
after all of them.
"""

import argparse
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import datasets
import torch
from transformers import PreTrainedTokenizerBase

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.dataset import build_dataset, load_rows
from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.labelled import label_space
from trainer_ext.data.preprocessing.tokenize import encoder, tokenize
from trainer_ext.data.streaming import StreamedDataset, StreamedRows, TokenStream
from trainer_ext.modeling.scratch import train_tokenizer
from trainer_ext.tables import table
from trainer_ext.tasks import TASKS, Task

REVIEWS = Path(__file__).resolve().parent.parent / "data/reviews/train.csv"
MAX_LENGTH = 128
NOTEBOOK_ROWS = 3000


class Notebook(torch.utils.data.Dataset):
    """The data set that tutorials show."""

    def __init__(self, texts: list[str], labels: list[int], tokenizer: PreTrainedTokenizerBase):
        self.texts = texts
        self.labels = labels
        self.tokenizer = tokenizer

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
        item = {name: value.squeeze(0) for name, value in encoded.items()}
        item["labels"] = torch.tensor(self.labels[row])
        return item


def write_titles(path: Path, count: int) -> None:
    """Write `title<TAB>label` lines; a number in each title makes it different from all others."""
    clauses = read_clauses()
    generator = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            start = generator.choice(clauses)
            end = generator.choice(clauses)
            file.write(f"{start}{number} {end}\t{number % 10}\n")


def read_clauses() -> list[str]:
    """Return the clauses of the sample reviews that are 6 to 14 characters long."""
    clauses = []
    for row in read_rows(str(REVIEWS)):
        text = row.values["reviewbody"].replace("，", "。")
        for clause in text.split("。"):
            if 6 <= len(clause) <= 14:
                clauses.append(" ".join(clause.split()))
    return clauses


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def side_by_side(
    data: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, workers: int, rounds: int
) -> list[tuple[float, float]]:
    """Return rows per second of the pipeline and of the notebook in each round.

    The notebook sees only the first `NOTEBOOK_ROWS`: its speed does not depend on their number.
    """
    texts = list(data["text"][:NOTEBOOK_ROWS])
    labels = list(data["labels"][:NOTEBOOK_ROWS])
    notebook = Notebook(texts, labels, tokenizer)

    def read_notebook() -> None:
        for row in range(len(notebook)):
            notebook[row]

    speeds = []
    for turn in range(rounds + 1):
        # Another length each time: with the same settings the tokens would come from the cache.
        length = MAX_LENGTH - 1 - turn
        ours = seconds(partial(tokenize, data, tokenizer, length, workers))
        theirs = seconds(read_notebook)
        # The first round warms up.
        if turn > 0:
            speeds.append((len(data) / ours, len(notebook) / theirs))
    return speeds


def stream(
    data: DataArguments, task: Task, tokenizer: PreTrainedTokenizerBase, titles: int
) -> tuple[float, dict[int, int]]:
    """Stream all rows; return rows per second, and the peak memory (MB) after a tenth of the rows and after all."""
    tokens = TokenStream(StreamedDataset(data, task), encoder(tokenizer, MAX_LENGTH), seed=1)
    memory = {}
    start = time.perf_counter()
    for number, _ in enumerate(tokens, 1):
        if number in (titles // 10, titles):
            memory[number] = peak_memory()
    return titles / (time.perf_counter() - start), memory


def print_results(
    rows_per_second: dict[str, float], rounds: list[tuple[float, float]], workers: int
) -> None:
    """Print the table of speeds and the ratio of the side-by-side rounds."""
    rows = [[what, f"{speed:.0f}"] for what, speed in rows_per_second.items()]
    print(table(rows, ["what", "rows/s"]))
    ratios = sorted(ours / theirs for ours, theirs in rounds)
    print(
        f"pipeline / a row at a time: {statistics.median(ratios):.1f}  "
        f"(rounds {ratios[0]:.1f} to {ratios[-1]:.1f}; {workers} processes; target: at least 10)"
    )


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
        rows = StreamedRows(data)
        task = TASKS["single_label"](label_space(rows, ["label"], None))
        texts = [row.values["text"] for row in islice(rows, 20_000)]
        tokenizer = train_tokenizer(texts, 8000, MAX_LENGTH)

        # First, because the peak memory of a process only grows.
        streamed, memory = stream(data, task, tokenizer, args.titles)

        small = DataArguments(train_file=str(path), max_train_samples=args.sample)
        sample = build_dataset(load_rows(small, "train"), small, task)
        rounds = side_by_side(sample, tokenizer, args.workers, args.rounds)

        start = time.perf_counter()
        built = build_dataset(load_rows(data, "train"), data, task)
        reading = time.perf_counter() - start
        tokenising = seconds(partial(tokenize, built, tokenizer, MAX_LENGTH, args.workers))
    ours, theirs = zip(*rounds, strict=True)
    whole = f"pipeline, {args.titles} titles"
    rows_per_second = {
        "pipeline, side by side": statistics.median(ours),
        "a row at a time, padded to 128, side by side": statistics.median(theirs),
        f"{whole}: reading and checking": args.titles / reading,
        f"{whole}: tokenising": args.titles / tokenising,
        f"streamed, {args.titles} titles: reading, checking and tokenising": streamed,
    }
    print_results(rows_per_second, rounds, args.workers)
    peaks = [f"{megabytes} MB after {number} rows" for number, megabytes in memory.items()]
    print(f"peak memory, streamed: {', '.join(peaks)}")
    print(f"peak memory with all {args.titles} rows at once: {peak_memory()} MB")


if __name__ == "__main__":
    main()
