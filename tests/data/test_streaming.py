"""Streamed rows: the same as in memory, in an order that (seed, epoch) decides, and memory that does not grow."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from tests.conftest import ROOT
from tests.data.preprocessing.test_tokenize import make_tokenizer
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.parser import parse
from trainer_ext.data.dataset import build_dataset, dataset_sha256, load_rows
from trainer_ext.data.labelled import label_space
from trainer_ext.data.preprocessing.tokenize import Collator, encoder
from trainer_ext.data.streaming import StreamedDataset, StreamedRows, TokenStream
from trainer_ext.data.training_data import build_split, load_training_data
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS


def make_file(path: Path, rows: int) -> str:
    """`text<TAB>label` lines, all different."""
    path.write_text(
        "".join(f"row {k} {'abc'[k % 3]}\t{k % 2}\n" for k in range(rows)), encoding="utf-8"
    )
    return str(path)


def streamed(path: str, **flags) -> StreamedDataset:
    data = DataArguments(train_file=path, streaming=True, **flags)
    kind = TASKS[data.task]
    return StreamedDataset(
        data, kind(label_space(StreamedRows(data), data.label_columns, data.label_names, kind))
    )


def test_the_same_rows_as_in_memory(tmp_path):
    """Rows, labels, ids, the number and the hash."""
    lines = [
        json.dumps({"n": k, "text": f"t {k}", "label": "xy"[k % 2]}) + "\n" for k in range(2500)
    ]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    stream = streamed(str(tmp_path / "a.jsonl"), id_column="n")
    memory = build_dataset(load_rows(stream.data, "train"), stream.data, stream.task)
    assert list(stream.examples()) == memory.to_list()
    assert len(stream) == 2500 and dataset_sha256(stream) == dataset_sha256(memory)
    assert list(stream["text"]) == list(stream["text"]) == list(memory["text"])
    assert stream["labels"] == list(memory["labels"])


def test_the_same_tagged_rows_as_in_memory(tmp_path):
    (tmp_path / "a.txt").write_text("play O\nmoon B-song\nplay\n\nstop O\nstop\n\ngo O\nplay\n\n")
    stream = streamed(str(tmp_path / "a.txt"), task="joint")
    memory = build_dataset(load_rows(stream.data, "train"), stream.data, stream.task)
    assert list(stream.examples()) == memory.to_list() and dataset_sha256(stream) == dataset_sha256(
        memory
    )
    tokens = list(TokenStream(stream, encoder(make_tokenizer(), 8), buffer_size=1))
    assert [row["token_labels"] for row in tokens] == [
        [-100, 0, 1, -100],
        [-100, 0, -100],
        [-100, 0, -100],
    ]


def test_max_train_samples(tmp_path):
    assert len(streamed(make_file(tmp_path / "a.txt", 50), max_train_samples=7)) == 7


def test_a_bad_row_is_refused_before_the_training(tmp_path):
    path = make_file(tmp_path / "a.txt", 1500)
    with open(path, "a") as file:
        file.write("no label\n")
    with pytest.raises(UserError, match=r"a.txt, row 1501: the label in column 'label' is missing"):
        streamed(path)


def test_the_order_is_a_function_of_seed_and_epoch(tmp_path):
    """Every row once an epoch; another order in the next; the same again for the same epoch."""
    data = streamed(make_file(tmp_path / "a.txt", 300))

    def order(seed: int, epoch: int, buffer_size: int = 100) -> list[str]:
        stream = TokenStream(data, encoder(make_tokenizer(), 8), seed, buffer_size)
        stream.set_epoch(epoch)
        return [row["text"] for row in stream]

    first = order(1, 0)
    assert sorted(first) == sorted(data["text"]) and first != list(data["text"])
    assert first == order(1, 0)
    assert len({tuple(first), tuple(order(1, 1)), tuple(order(1, 2)), tuple(order(2, 0))}) == 4
    assert order(1, 0, buffer_size=1) == list(data["text"])


def test_batches_have_a_length(tmp_path):
    """What Trainer counts epochs by."""
    tokenizer = make_tokenizer()
    stream = TokenStream(streamed(make_file(tmp_path / "a.txt", 70)), encoder(tokenizer, 8))
    loader = DataLoader(stream, batch_size=16, collate_fn=Collator(tokenizer))
    sizes = [len(batch["labels"]) for batch in loader]
    assert sizes == [16, 16, 16, 16, 6] and len(loader) == 5


def test_only_the_training_rows_are_streamed(tmp_path):
    path = make_file(tmp_path / "a.txt", 6)
    data = DataArguments(train_file=path, validation_file=path, streaming=True)
    loaded = load_training_data(data)
    assert isinstance(loaded.train, StreamedRows)
    assert len(loaded.validation) == 6 and loaded.rows["test"] == []
    assert loaded.task.label_space == label_space(loaded.train, ["label"], None)
    assert build_split([], data, loaded.task, named=False) is None
    assert len(build_split(loaded.validation, data, loaded.task, named=False)) == 6


@pytest.mark.parametrize(
    "flags, words",
    [
        ([], "streaming true needs max_steps above 0, but it is -1"),
        (
            ["--max_steps", "3", "--group_by_length", "true"],
            "group_by_length must be false, but it is true",
        ),
        (
            ["--max_steps", "3", "--class_weights", "balanced"],
            "class_weights balanced counts all training rows",
        ),
        (
            ["--max_steps", "3", "--focal_gamma", "1", "--focal_alpha", "effective"],
            "focal_alpha effective counts",
        ),
    ],
)
def test_what_needs_all_rows_is_refused(topic_files, flags, words):
    base = [
        "--train_file",
        str(topic_files["train"]),
        "--from_scratch",
        "tiny",
        "--output_dir",
        "x",
    ]
    with pytest.raises(UserError, match=words):
        parse([*base, "--streaming", "true", *flags])


MEASURE = """
import resource, sys
from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.labelled import label_space
from trainer_ext.data.streaming import StreamedDataset, StreamedRows, TokenStream
from trainer_ext.data.preprocessing.tokenize import encoder
from trainer_ext.modeling.scratch import train_tokenizer
from trainer_ext.tasks import TASKS

peaks = []
for path in sys.argv[1:]:
    data = DataArguments(train_file=path, streaming=True)
    task = TASKS["single_label"](label_space(StreamedRows(data), ["label"], None))
    rows = StreamedDataset(data, task)
    tokenizer = train_tokenizer(["goal match team stock bank"] * 9, 60, 32)
    count = sum(1 for _ in TokenStream(rows, encoder(tokenizer, 8), 1, 1000))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    assert count == len(rows), (count, len(rows))
print(*peaks)
"""


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    """Label space, check, hash and tokenised batches over 1 MB and over 50 MB: a list of these rows takes 90 MB."""
    generator, paths = random.Random(1), []
    words = [letter * 50 for letter in "abcdefgh"]
    for rows in (2000, 80_000):
        paths.append(tmp_path / f"{rows}.txt")
        with open(paths[-1], "w") as file:
            for k in range(rows):
                file.write(f"{k} {' '.join(generator.choices(words, k=12))}\t{k % 3}\n")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    small, large = map(int, done.stdout.split())
    assert large - small < 25, f"{small} MB with the small file, {large} MB with the large one"
