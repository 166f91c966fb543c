"""Write answers to files and show them on the screen, one row per row."""

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from trainer_ext.characters import on_screen, shorten
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, check_folder, json_text

FORMATS = ("jsonl", "csv")
ON_SCREEN = 200  # answers
Answer = dict[str, Any]
Join = Callable[[list[str]], str]  # makes one csv cell of a row's labels


def check_output(path: str) -> None:
    """Check that answers can be written to a file: its ending is one of `FORMATS`, and its folder can be written to.

    Raises:
        UserError: naming the flag and the file, if they cannot. Standard output, `-`, always can.
    """
    if path == "-":
        return
    if Path(path).suffix.lower().removeprefix(".") not in FORMATS:
        raise UserError(f"--output {path}: unknown ending; expected .jsonl or .csv")
    if Path(path).is_dir():
        raise UserError(f"--output {path} is a folder")
    check_folder(f"--output {path}:", Path(path).parent)


def check_not_read(output: str | os.PathLike, source: str, what: str = "--output") -> None:
    """Check that a file to be written is not one that is read, also by another name (a link, a redirection).

    Raises:
        UserError: naming both, if it is.
    """
    # One of them may not exist, and standard input may not be a file.
    with suppress(OSError, ValueError):
        read = os.fstat(sys.stdin.fileno()) if source == "-" else os.stat(source)
        is_same = os.path.samestat(read, os.stat(output))
        # A device such as /dev/null may be both.
        if is_same and stat.S_ISREG(read.st_mode):
            raise UserError(
                f"{what} {output} is the input {source}; it would be lost: name another file"
            )


def metrics_path(output: str | None, source: str) -> Path:
    """Return where `--evaluate` saves the metrics: beside the output, or in the current folder by the input's name."""
    if output and output != "-":
        return Path(output).with_suffix(".metrics.json")
    if source == "-":
        return Path("stdin.metrics.json")
    return Path(Path(source.removesuffix(".gz")).stem + ".metrics.json")


def write_answers(path: str, answers: Iterable[Answer], join: Join = ",".join) -> int:
    """Stream answers into a jsonl or csv file, which appears when it is complete; return the number of rows.

    Args:
        path: the file; `-` is standard output, as jsonl.
        answers: one for each row.
        join: of the model's task: the separator may stand in a label.
    """
    return write_records(path, records_of(path, answers, join))


def records_of(path: str, answers: Iterable[Answer], join: Join = ",".join) -> Iterator[Answer]:
    """Yield answers as a file holds them: csv has flat columns."""
    if not is_csv(path):
        yield from answers
        return
    for answer in answers:
        yield flat_row(answer, join)


def is_csv(path: str) -> bool:
    """Tell the format of a file of answers by its ending."""
    return path.lower().endswith(".csv")


def write_records(path: str, records: Iterable[Answer]) -> int:
    """Stream records into a file, which appears when it is complete, or to standard output; return their number."""
    if path == "-":
        return write_lines(sys.stdout, records)
    if is_csv(path):
        return write_table(path, records)
    with atomic_writer(path) as file:
        return write_lines(file, records)


def write_lines(file: TextIO, answers: Iterable[Answer]) -> int:
    """Write one JSON object a line; return the number of lines."""
    count = 0
    for answer in answers:
        file.write(json_text(answer, default=str) + "\n")
        count += 1
    return count


def write_table(path: str, rows: Iterable[Answer]) -> int:
    """Write a csv file whose columns are those of the first row; return the number of rows."""
    count = 0
    with open_csv(path, quote_text=True) as writer:
        for row in rows:
            writer.write_record(row)
            count += 1
    return count


def flat_row(answer: Answer, join: Join) -> Answer:
    """Return an answer's values by flat column.

    Raises:
        UserError: if two columns have the same name: one of them would be lost.
    """
    values: Answer = {}
    for name, value in flatten(answer, join=join):
        if name in values:
            raise UserError(
                f"two columns of the answer are called {name!r}; write .jsonl, which keeps them apart"
            )
        values[name] = value
    return values


def flatten(answer: Answer, prefix: str = "", join: Join = ",".join) -> Iterator[tuple[str, Any]]:
    """Yield an answer as flat columns.

    `{"label": "a", "probabilities": {"a": 1}}` -> label, probability_a; aspects: dish_taste, dish_taste_score,
    dish_taste_probability_positive, ...; scores: a column per target; labels: joined by `join`; slots and tags: JSON.
    """
    before = f"{prefix}_" if prefix else ""
    for key, value in answer.items():
        if key == "aspects":
            for aspect, inner in value.items():
                yield from flatten(inner, aspect)
        elif key == "probabilities":
            for name, probability in value.items():
                yield f"{before}probability_{name}", probability
        elif key == "scores":
            yield from value.items()
        # A column of the input may have this name too, and any value.
        elif key == "labels" and isinstance(value, list):
            yield key, join(value)
        elif isinstance(value, list):
            yield f"{before}{key}", json_text(value)
        elif key == "label" and prefix:
            yield prefix, value
        else:
            yield f"{before}{key}", value


def print_answers(answers: Iterator[Answer]) -> None:
    """Print tables of answers; only the first rows of a long input."""
    from trainer_ext.tables import table  # a file of answers needs none

    shown = list(islice(answers, ON_SCREEN))
    # Aspects fill a table for each text; everything else is one row of one table.
    if shown and "aspects" in shown[0]:
        for answer in shown:
            aspects = table(screen_rows(answer), screen_headers(answer))
            print(f"\n{on_screen(answer['text'])}\n\n{aspects}")
    elif shown:
        rows = []
        for answer in shown:
            rows += screen_rows(answer)
        print(table(rows, screen_headers(shown[0])))
    # One more than is shown, to know whether there are more; those after it are not predicted.
    if next(answers, None) is not None:
        print(f"... and more: the first {ON_SCREEN} rows are shown; --output FILE.jsonl keeps all")


def screen_rows(answer: Answer) -> list[list]:
    """Return the table rows of one answer: one per aspect, or one in all; the columns are `screen_headers`."""
    if "aspects" in answer:
        aspects = answer["aspects"].items()
        return [[name, inner["label"], inner["score"]] for name, inner in aspects]
    text = shorten(answer["text"])
    if "intent" in answer:
        slots = [f"{slot['slot']}={slot['text']}" for slot in answer["slots"]]
        return [[text, answer["intent"], answer["intent_score"], "; ".join(slots)]]
    if "scores" in answer:
        return [[text, *answer["scores"].values()]]
    if "labels" in answer:
        probabilities = answer["probabilities"]
        labels = [f"{name} {probabilities[name]:.4f}" for name in answer["labels"]]
        return [[text, ", ".join(labels) or "-"]]
    return [[text, answer["label"], answer["score"]]]


def screen_headers(answer: Answer) -> list[str]:
    """Return the columns of the table that `screen_rows` fills."""
    if "aspects" in answer:
        return ["aspect", "label", "score"]
    if "scores" in answer:
        return ["text", *answer["scores"]]
    if "intent" in answer:
        return ["text", "intent", "score", "slots"]
    if "labels" in answer:
        return ["text", "labels"]
    return ["text", "label", "score"]
