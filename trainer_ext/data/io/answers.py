"""Answers to files and to the screen, one row per row."""

import csv
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from trainer_ext.characters import on_screen
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, check_folder, json_text
from trainer_ext.tables import table

FORMATS = ("jsonl", "csv")
ON_SCREEN = 200  # answers


def check_output(path: str) -> None:
    """Raise `UserError` for an output file whose ending is none we write, or that cannot be made; `-` can."""
    if path == "-":
        return
    if Path(path).suffix.lower().removeprefix(".") not in FORMATS:
        raise UserError(f"--output {path}: unknown ending; expected .jsonl or .csv")
    if Path(path).is_dir():
        raise UserError(f"--output {path} is a folder")
    check_folder(f"--output {path}:", Path(path).parent)


def check_not_read(output: str | os.PathLike, source: str, what: str = "--output") -> None:
    """Raise `UserError` when a file to be written is one that is read, also by another name (a link, a redirection)."""
    with suppress(OSError, ValueError):  # one of them is not there, or standard input is no file
        read = os.fstat(sys.stdin.fileno()) if source == "-" else os.stat(source)
        if stat.S_ISREG(read.st_mode) and os.path.samestat(read, os.stat(output)):
            raise UserError(
                f"{what} {output} is the input {source}; it would be lost: name another file"
            )


def metrics_path(output: str | None, source: str) -> Path:
    """Where `--evaluate` saves the metrics: beside the output, else in the current folder under the input's name."""
    if output and output != "-":
        return Path(output).with_suffix(".metrics.json")
    return Path(
        (Path(source.removesuffix(".gz")).stem if source != "-" else "stdin") + ".metrics.json"
    )


def write_answers(
    path: str, answers: Iterable[dict[str, Any]], join: Callable[[list[str]], str] = ",".join
) -> int:
    """Stream answers into a jsonl or csv file, which appears when it is complete; returns the number of rows.

    `-` is standard output, as jsonl. `join` makes one cell of csv of a row's labels.
    """
    if path == "-":
        return write_lines(sys.stdout, answers)
    if path.lower().endswith(".csv"):
        return write_table(path, (unique(flatten(answer, join=join)) for answer in answers))
    with atomic_writer(path) as file:
        return write_lines(file, answers)


def write_lines(file: TextIO, answers: Iterable[dict[str, Any]]) -> int:
    """One JSON object a line."""
    count = 0
    for answer in answers:
        file.write(json_text(answer, default=str) + "\n")
        count += 1
    return count


def write_table(path: str, rows: Iterable[dict[str, Any]]) -> int:
    """Write a csv file whose columns are those of the first row; return the number of rows."""
    count = 0
    with open_csv(path, csv.QUOTE_NONNUMERIC) as writer:
        for row in rows:
            writer.write_record(row)
            count += 1
    return count


def unique(columns: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Columns by name; a `UserError` where two have the same, one of which would be lost."""
    values: dict[str, Any] = {}
    for name, value in columns:
        if name in values:
            raise UserError(
                f"two columns of the answer are called {name!r}; write .jsonl, which keeps them apart"
            )
        values[name] = value
    return values


def flatten(
    answer: dict[str, Any], prefix: str = "", join: Callable[[list[str]], str] = ",".join
) -> Iterator[tuple[str, Any]]:
    """An answer as flat columns.

    `{"label": "a", "probabilities": {"a": 1}}` -> label, probability_a; aspects: dish_taste, dish_taste_score,
    dish_taste_probability_positive, ...; scores: a column per target; labels: joined by `join`; slots and tags: JSON.
    """
    for key, value in answer.items():
        if key == "aspects":
            for aspect, inner in value.items():
                yield from flatten(inner, aspect)
        elif key == "probabilities":
            yield from (
                (f"{prefix}_probability_{name}".lstrip("_"), p) for name, p in value.items()
            )
        elif key == "scores":
            yield from value.items()
        elif key == "labels" and isinstance(value, list):
            yield key, join(value)
        elif isinstance(value, list):
            yield f"{prefix}_{key}".lstrip("_"), json_text(value)
        elif key == "label" and prefix:
            yield prefix, value
        else:
            yield f"{prefix}_{key}".lstrip("_"), value


def print_answers(answers: Iterator[dict[str, Any]]) -> None:
    """Tables on the screen; the first rows only of a long input."""
    shown = list(islice(answers, ON_SCREEN))
    aspects = [answer for answer in shown if "aspects" in answer]
    for answer in aspects:
        print(
            f"\n{on_screen(answer['text'])}\n\n{table(screen_rows(answer), screen_headers(answer))}"
        )
    if shown and not aspects:
        print(
            table(
                [row for answer in shown for row in screen_rows(answer)], screen_headers(shown[0])
            )
        )
    if next(answers, None) is not None:
        print(f"... and more: the first {ON_SCREEN} rows are shown; --output FILE.jsonl keeps all")


def screen_rows(answer: dict[str, Any]) -> list[list]:
    """Rows of a table for one answer: one per aspect, or one in all; its columns are `screen_headers`."""
    if "aspects" in answer:
        return [[name, inner["label"], inner["score"]] for name, inner in answer["aspects"].items()]
    if "intent" in answer:
        slots = "; ".join(f"{slot['slot']}={slot['text']}" for slot in answer["slots"])
        return [[shorten(answer["text"]), answer["intent"], answer["intent_score"], slots]]
    if "scores" in answer:
        return [[shorten(answer["text"]), *answer["scores"].values()]]
    if "labels" in answer:
        probabilities = answer["probabilities"]
        shown = [f"{name} {probabilities[name]:.4f}" for name in answer["labels"]]
        return [[shorten(answer["text"]), ", ".join(shown) or "-"]]
    return [[shorten(answer["text"]), answer["label"], answer["score"]]]


def screen_headers(answer: dict[str, Any]) -> list[str]:
    """The columns of the table that `screen_rows` fills."""
    if "aspects" in answer:
        return ["aspect", "label", "score"]
    if "scores" in answer:
        return ["text", *answer["scores"]]
    if "intent" in answer:
        return ["text", "intent", "score", "slots"]
    return ["text", "labels"] if "labels" in answer else ["text", "label", "score"]


def shorten(text: str, width: int = 60) -> str:
    """The start of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
