"""The data report: what several labelled files hold, as JSON, as tables and as pictures."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from trainer_ext.arguments.data import DataArguments
from trainer_ext.characters import on_screen
from trainer_ext.data.io.readers import require_columns
from trainer_ext.data.labelled import read_labelled
from trainer_ext.data.report.lengths import MAX_LENGTHS, PERCENTILES, token_counter
from trainer_ext.data.report.profile import Profile, pairs
from trainer_ext.errors import UserError
from trainer_ext.tables import table
from trainer_ext.tasks import TASKS

CLASSES_ON_SCREEN = 30


def profile_files(
    paths: Sequence[str], data: DataArguments, model_name_or_path: str | None
) -> list[tuple[str, Profile]]:
    """Look at every row of the files.

    Args:
        paths: labelled files; the first is the training part.
        data: the task, the columns and how the files are written.
        model_name_or_path: whose tokenizer counts the tokens; None: an estimate.

    Returns:
        A short name and the profile of each file.

    Raises:
        UserError: for a file without rows or without a column that the task reads.
    """
    count = token_counter(model_name_or_path) if model_name_or_path else None
    columns = TASKS[data.task].required_columns(data.text_column, data.label_columns)
    profiles = []
    for name, path in zip(short_names(paths), paths, strict=True):
        rows = read_labelled(path, data.task, data)
        first = next(rows, None)
        if first is None:
            raise UserError(f"{path} is empty: it has no rows")
        require_columns(first, columns, path)
        profiles.append((name, Profile(data, count).read(chain([first], rows))))
    return profiles


def build_report(
    paths: Sequence[str], profiles: Sequence[tuple[str, Profile]], data: DataArguments
) -> dict[str, Any]:
    """What data_report.json holds."""
    return {
        "task": data.task,
        "same_text": "equal after folding case and runs of white space; 'exact': equal but for white space around",
        "files": [
            {"file": path, "name": name, **profile.summary()}
            for path, (name, profile) in zip(paths, profiles, strict=True)
        ],
        "shared": list(pairs(profiles)),
    }


def as_text(report: dict[str, Any]) -> str:
    """The report as tables."""
    files, parts = report["files"], []
    headers = [
        "file",
        "rows",
        "missing",
        "repeated rows",
        "texts with contradicting labels",
        "their rows",
    ]
    rows = []
    for file in files:
        repeats = file["duplicates"]
        gaps = sum(gap["count"] for gap in file["missing"].values())
        rows.append([file["name"], file["rows"], gaps, *(repeats[k] for k in list(repeats)[:1]),
                     repeats["conflicting_texts"], repeats["conflicting_rows"]])  # fmt: skip
    parts.append(table(rows, headers))
    for file in files:
        for name, gap in file["missing"].items():
            parts.append(
                f"{file['name']}: no {on_screen(name)} in {gap['count']} rows: {', '.join(gap['first'])}"
            )
        for name, counts in file["unknown_labels"].items():
            listed = ", ".join(f"{value!r} ({count})" for value, count in counts.items())
            parts.append(
                f"{file['name']}: {on_screen(name)} has labels that are none of label_names: {listed}"
            )
    if report["shared"]:
        rows = [[p["first"], p["second"], p["texts"], p["rows_of_second"], p["conflicting_texts"]]
                for p in report["shared"]]  # fmt: skip
        parts.append(
            table(
                rows,
                ["first", "second", "texts in both", "rows of the second", "with other labels"],
            )
        )
    parts += class_tables(files) + target_tables(files) + length_tables(files)
    return "\n\n".join(parts)


def class_tables(files: Sequence[dict[str, Any]]) -> list[str]:
    """One table a label column; where there are several (aspects), one for all of them."""
    columns = list(dict.fromkeys(column for file in files for column in file["classes"]))
    if are_aspects(columns):
        by_column = [
            (file["name"], column, by) for file in files for column, by in file["classes"].items()
        ]
        names = list(dict.fromkeys(name for *_, by in by_column for name in sorted(by["counts"])))
        rows = [[file, column, *(by["counts"].get(name, 0) for name in names), str(by["imbalance_ratio"])]
                for file, column, by in by_column]  # fmt: skip
        return [table(rows, ["file", "column", *names, "largest / smallest"])]
    parts = []
    for column in columns:
        counts = [
            file["classes"].get(column, {"counts": {}, "imbalance_ratio": None}) for file in files
        ]
        names = list(dict.fromkeys(name for by in counts for name in by["counts"]))
        rows = [
            [name, *(by["counts"].get(name, 0) for by in counts)]
            for name in names[:CLASSES_ON_SCREEN]
        ]
        more = (
            f"\n... and {len(names) - CLASSES_ON_SCREEN} more"
            if len(names) > CLASSES_ON_SCREEN
            else ""
        )
        ratios = ", ".join(f"{by['imbalance_ratio']:g}" for by in counts if by["imbalance_ratio"])
        parts.append(table(rows, [column, *(file["name"] for file in files)]) + more)
        parts.append(f"{len(names)} classes of {on_screen(column)}; largest / smallest: {ratios}")
    return parts


def are_aspects(columns: Sequence[str]) -> bool:
    """Whether the label columns share their classes: not one label, and not the intents and slots of joint."""
    return len(columns) > 1 and set(columns) != {"intent", "slots"}


def target_tables(files: Sequence[dict[str, Any]]) -> list[str]:
    """Mean and spread of regression targets."""
    names = ("count", "mean", "std", "min", "p25", "p50", "p75", "max")
    rows = [[file["name"], target, *(values[name] for name in names)]
            for file in files for target, values in file["targets"].items()]  # fmt: skip
    return [table(rows, ["file", "target", *names])] if rows else []


def length_tables(files: Sequence[dict[str, Any]]) -> list[str]:
    """Percentiles by unit, the coverage of each max_length, and the recommendation."""
    units = (files[0]["length"]["unit"], "characters", "words")
    names = ["min", *(f"p{p}" for p in PERCENTILES[1:-1]), "max", "mean"]
    rows = [[file["name"], unit, *(str(file["length"][unit].get(n, "")) for n in names)]
            for file in files for unit in units]  # fmt: skip
    coverage = [[file["name"], *(f"{file['length']['coverage'].get(str(limit), 0):.1%}" for limit in MAX_LENGTHS)]
                for file in files]  # fmt: skip
    best = max(file["length"]["recommended_max_length"] for file in files)
    whole = min(file["length"]["coverage"].get(str(best), 0) for file in files)
    hint = (
        "" if units[0] == "tokens" else " (an estimate: give --model_name_or_path to count tokens)"
    )
    return [
        table(rows, ["length of the texts", "in", *names]),
        table(coverage, [f"whole within max_length, {units[0]}", *map(str, MAX_LENGTHS)]),
        f"Recommended: --max_length {best}, which leaves {whole:.1%} of the texts whole{hint}",
    ]


def write_pictures(folder: Path, profiles: Sequence[tuple[str, Profile]]) -> list[str]:
    """lengths.png, and a picture for each label column (or for all targets); returns their names."""
    from trainer_ext.data.report import histograms

    unit = profiles[0][1].lengths.unit
    lengths = {name: profile.lengths.values[unit] for name, profile in profiles}
    histograms.length_histogram(lengths, unit, MAX_LENGTHS, folder / "lengths.png")
    names = ["lengths.png"]
    columns = list(dict.fromkeys(column for _, profile in profiles for column in profile.classes))
    for name, profile in profiles if are_aspects(columns) else ():
        names.append(f"classes_{len(names)}.png")
        histograms.aspect_bars(profile.classes, name, folder / names[-1])
    for column in columns if not are_aspects(columns) else ():
        counts = {
            name: dict(profile.classes.get(column, Counter()).most_common())
            for name, profile in profiles
        }
        names.append(f"classes_{''.join(c if c.isalnum() else '_' for c in column)}.png")
        histograms.class_bars(counts, column, folder / names[-1])
    for name, profile in profiles:
        if profile.targets:
            names.append(f"targets_{len(names)}.png")
            histograms.target_histogram(profile.targets, name, folder / names[-1])
    return names


def short_names(paths: Sequence[str]) -> list[str]:
    """The files' names alone, with as many folders before them as make them differ."""
    for depth in range(1, 1 + max(len(Path(path).parts) for path in paths)):
        names = ["/".join(Path(path).parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"a file is given twice: {', '.join(paths)}")
