"""Answers to files and to the screen, one row per row."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainer_ext.data.csv_files import CsvWriter
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, check_folder

FORMATS = ("jsonl", "csv")


def check_output(path: str) -> None:
    """Raise `UserError` for an output file whose ending is none we write, or that cannot be made."""
    if Path(path).suffix.lower().removeprefix(".") not in FORMATS:
        raise UserError(f"--output {path}: unknown ending; expected .jsonl or .csv")
    if Path(path).is_dir():
        raise UserError(f"--output {path} is a folder")
    check_folder(f"--output {path}:", Path(path).parent)


def write_answers(path: str, answers: Iterable[dict[str, Any]]) -> int:
    """Stream answers into a jsonl or csv file, which appears when it is complete; returns the number of rows."""
    count = 0
    as_csv = path.lower().endswith(".csv")
    with atomic_writer(path, newline="" if as_csv else None) as file:
        # Text is always quoted: csv modules before Python 3.13 leave a lone CR bare, which no reader gets past.
        writer = CsvWriter(file, path, csv.QUOTE_NONNUMERIC)
        for answer in answers:
            if not as_csv:
                file.write(json.dumps(answer, ensure_ascii=False, default=str) + "\n")
            else:
                columns = dict(flatten(answer))
                if count == 0:
                    writer.writerow(columns)
                writer.writerow(columns.values())
            count += 1
    writer.say()
    return count


def flatten(answer: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """An answer as flat columns.

    `{"label": "a", "probabilities": {"a": 1}}` -> label, probability_a; aspects: dish_taste, dish_taste_score,
    dish_taste_probability_positive, ...; scores: a column per target; labels: joined by commas; slots and tags: JSON.
    """
    for key, value in answer.items():
        if key == "aspects":
            for aspect, inner in value.items():
                yield from flatten(inner, aspect)
        elif key == "probabilities":
            yield from ((f"{prefix}_probability_{name}".lstrip("_"), p) for name, p in value.items())
        elif key == "scores":
            yield from value.items()
        elif key == "labels":
            yield key, ",".join(value)
        elif isinstance(value, list):
            yield f"{prefix}_{key}".lstrip("_"), json.dumps(value, ensure_ascii=False)
        elif key == "label" and prefix:
            yield prefix, value
        else:
            yield f"{prefix}_{key}".lstrip("_"), value


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
