"""The flags that say which rows are read, and which of their columns."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions
from trainer_ext.arguments.preprocessing import PreprocessingArguments
from trainer_ext.characters import broken_at
from trainer_ext.tasks import TASKS


@dataclass
class ColumnOptions:
    """The task and the columns that it reads; shared with the commands that look at labelled files."""

    _argument_group_name = "task and columns"

    task: str = option("single_label", "What is predicted.", choices=tuple(TASKS))
    text_column: str = option("text", "Column with the text.")
    label_columns: list[str] = option(
        ["label"], "Column with the label (or a list of them); aspects, targets: one each."
    )
    label_names: list[str] | None = option(
        None,
        "Classes in order, or a file of them (a line each, or a JSON list). name=value maps a raw value; else "
        "values are names or 0..n-1.",
    )
    label_separator: str = option(",", "Between the labels of a multi_label row.")


@dataclass
class DataArguments(ColumnOptions, PreprocessingArguments, FileOptions):
    """Which rows, which of their columns, how they are written and how they are preprocessed."""

    _argument_group_name = "data"

    train_file: str | None = option(None, "csv, tsv, txt, jsonl or parquet (.gz too).")
    validation_file: str | None = option(None, "Rows the best checkpoint is chosen on.")
    # Its range leaves out both ends, which checks.py explains in words of its own.
    validation_split: float | None = option(
        None,
        "Without a validation_file: this share of the training rows, by class, drawn with seed.",
    )
    split_seed: int = field(default=42, init=False)
    """The seed of the run itself, also in a member that trains with another (seeds, folds)."""
    test_file: str | None = option(None, "Rows scored once, at the end.")
    ood_file: str | None = option(
        None, "With --reject: texts of another domain, without labels, to judge the rejection by."
    )
    dataset_name: str | None = option(None, "Hub data set (or folder) instead of files.")
    dataset_config_name: str | None = option(None, "Configuration of the hub data set.")
    drop_suspects: str | None = option(
        None, "A suspects.csv: leave out the rows with the verdict wrong (never test rows)."
    )
    id_column: str | None = option(None, "Column that names a row in the answers.")
    max_length: int = option(128, "Longest input in tokens, special tokens included.", minimum=4)
    preprocessing_num_workers: int | None = option(None, "Processes that tokenise.")
    streaming: bool = option(
        False,
        "Read the training rows as they are needed, for files larger than memory; needs max_steps.",
    )
    max_train_samples: int | None = option(None, "Use only the first N training rows.", minimum=1)
    max_eval_samples: int | None = option(None, "Use only the first N validation rows.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_names and len(self.label_names) == 1:
            self.label_names = names_or_file(self.label_names[0])
        if broken_at(self.label_names) is not None:
            raise ValueError(
                "label_names: a name holds a broken character (half of a surrogate pair)"
            )


def names_or_file(name: str) -> list[str]:
    """Return the names in a file of class names, or the name itself if it is not a file.

    Raises:
        ValueError: for a file of names that does not exist or cannot be read.
    """
    path = Path(name)
    # A class may be called like a file that is there by chance; then it has to be listed with the others.
    if path.is_file():
        return read_names(path)
    if path.suffix in (".txt", ".json"):
        raise ValueError(f"label_names: {path} does not exist")
    return [name]


def read_names(path: Path) -> list[str]:
    """Read class names from a file: a JSON list, or one a line.

    Raises:
        ValueError: for a file that cannot be read, or whose JSON is not a list.
    """
    try:
        # Windows editors begin a file with a byte order mark, which would be a part of the first name.
        text = path.read_text(encoding="utf-8-sig")
        # Not splitlines: a name may hold a form feed or U+2028, which it takes for line ends.
        names = json.loads(text) if path.suffix == ".json" else text.split("\n")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"label_names: {path} cannot be read: {error}") from error
    if not isinstance(names, list):
        raise ValueError(f"label_names: {path} does not hold a JSON list of names")
    # JSON may hold numbers, which are names like any other.
    stripped = [str(name).strip() for name in names]
    return [name for name in stripped if name]
