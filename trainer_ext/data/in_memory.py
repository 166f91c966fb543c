"""Rows that are in memory (frames, data sets, lists) as jsonl files, so that a run on them can be repeated."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer_ext.characters import broken_at
from trainer_ext.data.class_names import class_names, named
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, json_text

SPLIT_NAMES = {
    "train_file": ("train", "training"),
    "validation_file": ("validation", "valid", "val", "dev"),
    "test_file": ("test",),
}


def divide_splits(flags: dict[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags with the splits of a `DatasetDict` in `train_file` each under its own flag.

    Raises:
        UserError: for one without a training split.
    """
    given = flags.get("train_file", recipe.get("train_file"))
    if not isinstance(given, Mapping):
        return flags
    # A mapping of columns to lists is one table, not several splits.
    are_splits = [hasattr(split, "column_names") for split in given.values()]
    if not all(are_splits):
        return flags
    divided = dict(flags)
    for flag, names in SPLIT_NAMES.items():
        found = [given[name] for name in names if name in given]
        # A split that was given by its own flag wins over that of the data set.
        is_given = flag != "train_file" and (flag in flags or flag in recipe)
        if found and not is_given:
            divided[flag] = found[0]
        elif flag == "train_file":
            splits = ", ".join(map(str, given))
            raise UserError(f"train_file has the splits {splits}, but no train")
    return divided


def columns_of_tuples(flags: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """Return the columns that the parts of a row without names belong to: the text, then the labels."""
    text = flags.get("text_column") or recipe.get("text_column") or "text"
    labels = flags.get("label_columns") or recipe.get("label_columns") or ["label"]
    if isinstance(labels, str):
        labels = [labels]
    return [text, *labels]


def write_table(
    rows: Any,
    path: Any,
    name: str,
    columns: Sequence[str] = ("text", "label"),
) -> None:
    """Write rows in any form that `fit` takes as jsonl; class ids become class names.

    Args:
        rows: the table.
        path: of the file.
        name: of the flag, for messages.
        columns: of rows that are tuples.

    Raises:
        UserError: for rows of another form, naming the row.
    """
    names = class_names(getattr(rows, "features", {}))
    with atomic_writer(path) as file:
        for number, row in enumerate(as_rows(rows, name), 1):
            where = f"{name}, row {number}"
            values = dict(as_mapping(row, columns, where))
            for column in names:
                if column in values:
                    values[column] = named(values[column], names[column])
            line = json_text(values, default=as_plain)
            # JSON can hold one as an escape, but no other file that the run writes can.
            if broken_at(line) is not None:
                raise UserError(f"{where}: holds a broken character (half of a surrogate pair)")
            file.write(line + "\n")


def as_rows(rows: Any, name: str) -> Iterable:
    """Return a table row by row.

    Raises:
        UserError: for columns of different lengths, and for what is not a table.
    """
    # By what it can do: pandas is not imported for a list.
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        return rows.to_dict(orient="records")
    if isinstance(rows, Mapping):
        return rows_of_columns(rows, name)
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
        raise UserError(f"{name}: expected a file or rows, got {type(rows).__name__}")
    return rows


def rows_of_columns(columns: Mapping[str, Any], name: str) -> Iterable[dict[str, Any]]:
    """Return the rows of a mapping of columns to lists.

    Raises:
        UserError: for a column that is not a list, or has another length.
    """
    lengths = set()
    found = []
    are_columns = True
    for key, column in columns.items():
        if is_column(column):
            lengths.add(len(column))
            found.append(f"{key!r}: {len(column)}")
        else:
            are_columns = False
            found.append(f"{key!r}: {type(column).__name__}")
    if len(lengths) > 1 or not are_columns:
        shown = ", ".join(found)
        raise UserError(f"{name}: a mapping must hold lists of the same length; got {shown[:200]}")
    # Not `yield`ed, so that the check runs at the call and not at the first row.
    rows = zip(*columns.values(), strict=True)
    return (dict(zip(columns, values, strict=True)) for values in rows)


def is_column(values: Any) -> bool:
    """Return whether this is a list, an array, a series or the like."""
    return hasattr(values, "__len__") and not isinstance(values, (str, bytes, Mapping))


def as_mapping(row: Any, columns: Sequence[str], where: str) -> Mapping[str, Any]:
    """Return a row by column; the parts of a tuple are the text, then the labels.

    Raises:
        UserError: for a row that is neither, or has another number of parts.
    """
    if isinstance(row, Mapping):
        return row
    if not isinstance(row, tuple):
        kind = type(row).__name__
        raise UserError(
            f"{where}: expected a mapping of columns to values, got {kind}; give a file, a data frame, "
            "a datasets.Dataset, a list of mappings or of tuples"
        )
    # A named tuple brings its own columns.
    row_columns = list(getattr(row, "_fields", columns))
    if len(row) != len(row_columns):
        listed = ", ".join(row_columns)
        raise UserError(f"{where}: {len(row)} values for the columns {listed}")
    return dict(zip(row_columns, row, strict=True))


def as_plain(value: Any) -> Any:
    """Return what JSON can hold: numpy's values as Python's, sets as lists, pandas' gaps as None, dates as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return str(value)
