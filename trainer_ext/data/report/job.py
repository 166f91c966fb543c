"""Make the data report of several labelled files: its JSON and its pictures (`text.py` has its tables)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.io.readers import require_columns
from trainer_ext.data.labelled import read_labelled
from trainer_ext.data.report.cross_table import ordered_union
from trainer_ext.data.report.lengths import MAX_LENGTHS, token_counter
from trainer_ext.data.report.profile import FileSummary, Profile, shared_texts
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS

Profiles = Mapping[str, Profile]


class FileReport(FileSummary):
    """A file's path as it was given, its short name, and its summary."""

    file: str
    name: str


class Report(TypedDict):
    """What data_report.json holds."""

    task: str
    same_text: str
    files: list[FileReport]
    shared: list[dict[str, Any]]


def profile_files(
    paths: Sequence[str],
    data: DataArguments,
    model_name_or_path: str | None,
) -> dict[str, Profile]:
    """Count every row of the files.

    Args:
        paths: labelled files; the first is the training part.
        data: the task, the columns and how the files are written.
        model_name_or_path: whose tokenizer counts the tokens; None: they are estimated.

    Returns:
        The profile of each file by a short name, in the order of the paths.

    Raises:
        UserError: for a file without rows or without a column that the task reads.
    """
    count = token_counter(model_name_or_path) if model_name_or_path else None
    columns = TASKS[data.task].required_columns(data.text_column, data.label_columns)
    profiles = {}
    for name, path in zip(short_names(paths), paths, strict=True):
        rows = read_labelled(path, data.task, data)
        first = next(rows, None)
        if first is None:
            raise UserError(f"{path} is empty: it has no rows")
        require_columns(first, columns, path)
        profile = Profile(data, count)
        profiles[name] = profile.read(chain([first], rows))
    return profiles


def build_report(paths: Sequence[str], profiles: Profiles, data: DataArguments) -> Report:
    """Return what data_report.json holds."""
    files: list[FileReport] = []
    for path, (name, profile) in zip(paths, profiles.items(), strict=True):
        files.append({"file": path, "name": name, **profile.summary()})
    return {
        "task": data.task,
        "same_text": "equal when case and runs of whitespace are ignored; 'exact': equal but for whitespace around",
        "files": files,
        "shared": list(shared_texts(profiles)),
    }


def write_pictures(folder: Path, profiles: Profiles, task: str) -> list[str]:
    """Draw lengths.png, and a picture for each label column (or for all columns, or targets, of a file).

    Returns:
        The names of the files.
    """
    # matplotlib takes a second to import, and a file that cannot be read is refused before.
    from trainer_ext.data.report import histograms

    unit = next(iter(profiles.values())).lengths.unit
    lengths = {}
    for name, profile in profiles.items():
        lengths[name] = profile.lengths.values[unit]
    histograms.length_histogram(lengths, unit, MAX_LENGTHS, folder / "lengths.png")
    names = ["lengths.png"]
    columns = ordered_union(profile.classes for profile in profiles.values())
    # Aspects share their classes, so that one picture can compare all of them.
    if are_aspects(columns, task):
        for name, profile in profiles.items():
            names.append(f"classes_{len(names)}.png")
            histograms.aspect_bars(profile.classes, name, folder / names[-1])
    else:
        for column in columns:
            names.append(f"classes_{file_name_of(column)}.png")
            counts = class_counts(profiles, column)
            histograms.class_bars(counts, column, folder / names[-1])
    for name, profile in profiles.items():
        if profile.targets:
            names.append(f"targets_{len(names)}.png")
            histograms.target_histogram(profile.targets, name, folder / names[-1])
    return names


def class_counts(profiles: Profiles, column: str) -> dict[str, dict[str, int]]:
    """Return the rows of each class of a label column by file, commonest first."""
    counts = {}
    for name, profile in profiles.items():
        of_column = profile.classes.get(column, Counter())
        counts[name] = dict(of_column.most_common())
    return counts


def are_aspects(columns: Sequence[str], task: str) -> bool:
    """Return whether several label columns share their classes, as aspects do; intents and slots do not."""
    return len(columns) > 1 and not TASKS[task].has_token_head


def file_name_of(column: str) -> str:
    """Return a column's name as a part of a file's name."""
    return re.sub(r"\W", "_", column)


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the files' names, with as many folders before them as make them differ.

    Raises:
        UserError: if a file is given twice.
    """
    # The report and the pictures know a file by its name alone.
    parts = [Path(path).parts for path in paths]
    deepest = max(map(len, parts))
    for depth in range(1, deepest + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"a file is given twice: {', '.join(paths)}")
