"""`fit`: what `python train.py` does, from a notebook."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from filecmp import cmp
from functools import cached_property, partial
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import parse_values
from trainer_ext.arguments.recipe import read_recipe
from trainer_ext.characters import broken_at
from trainer_ext.cross_validation.dispatch import run
from trainer_ext.cross_validation.members import has_members
from trainer_ext.data.class_names import class_names, named
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_path, atomic_writer, json_text
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.processes import on_main
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.runs.output_dir import check_not_foreign, claim_output_dir, is_ours, mark
from trainer_ext.training.trainer import CustomTrainer

SPLITS = {
    "train_file": ("train", "training"),
    "validation_file": ("validation", "valid", "val", "dev"),
    "test_file": ("test",),
}
TABLES = tuple(SPLITS)


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        output_dir: the folder with the best model.
        metrics: the content of its metrics.json.
        trainer: the `transformers.Trainer` that trained; None where nothing, or several models, were trained.
    """

    output_dir: Path
    metrics: dict[str, float]
    trainer: CustomTrainer | None = field(default=None, repr=False, compare=False)

    @property
    def history(self) -> list[dict[str, float]]:
        """What was logged while training: losses, learning rates and evaluations, a mapping each time."""
        return self.trainer.state.log_history if self.trainer else []

    @cached_property
    def predictor(self) -> Predictor:
        """The best model, as it was saved."""
        return load_predictor(self.output_dir)

    def predict(self, texts: Any) -> list[dict[str, Any]]:
        """An answer for each text; texts as `Predictor.predict` takes them."""
        return self.predictor.predict(texts)


def fit(recipe: str | os.PathLike | Mapping[str, Any] | None = None, **flags: Any) -> Run:
    """Train as `python train.py RECIPE --flag value` does, in this process.

    Args:
        recipe: path of a YAML recipe, or the same as a mapping.
        **flags: any flag of train.py under its name; they win over the recipe, and None takes the recipe's back.
            `train_file`, `validation_file` and `test_file` may be rows as well: a `pandas.DataFrame`, a
            `datasets.Dataset`, a list of mappings or of tuples (the text, then the labels), or a mapping of columns to
            lists; `train_file` a `DatasetDict` with all splits. They are kept as `output_dir/data/*.jsonl`, so that the
            run can be repeated.

    Returns:
        The output folder and the metrics; `run.predict(texts)` answers with the model, as does
        `trainer_ext.load_predictor(run.output_dir)`; `run.history` and `run.trainer` show how it was trained. With
        `folds` or `seeds` each model trains in a process of its own, the metrics are `oof_*` (`ensemble_*`), `mean_*`
        and `std_*`, and the folder answers with all models together.

    Raises:
        UserError: for what `train.py` ends with exit status 2: bad flags, bad rows, a folder that holds another run.
    """
    values = dict(recipe) if isinstance(recipe, Mapping) else read_recipe(recipe)
    flags = with_splits(flags, values)
    tables = {name: flags.get(name, values.get(name)) for name in TABLES}
    tables = {
        name: rows
        for name, rows in tables.items()
        if rows is not None and not isinstance(rows, (str, Path))
    }
    folder = flags.get("output_dir", values.get("output_dir"))
    if tables and not folder:
        raise UserError("no output_dir: say where the model goes")
    kept = {name: Path(folder) / "data" / f"{name.removesuffix('_file')}.jsonl" for name in tables}
    with environment_kept(), TemporaryDirectory() as beside:
        written = {name: Path(beside) / path.name for name, path in kept.items()}
        for name, rows in tables.items():
            write_table(rows, written[name], name, columns_of_tuples(flags, values))
        args = parse_values(
            values, {**flags, **written}
        )  # the flags are right before anything is left behind
        keep_tables(written, kept, args)
        trainers: list[CustomTrainer] = []
        metrics = run(args, trainers.append)
        return Run(Path(args.training.output_dir), metrics, *trainers)


def with_splits(flags: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The flags with the splits of a `DatasetDict` in `train_file` where they belong.

    Raises:
        UserError: for one without a training split.
    """
    given = flags.get("train_file", values.get("train_file"))
    if not isinstance(given, Mapping) or not all(
        hasattr(split, "column_names") for split in given.values()
    ):
        return flags
    found = {
        flag: next((given[name] for name in names if name in given), None)
        for flag, names in SPLITS.items()
    }
    if found["train_file"] is None:
        raise UserError(f"train_file has the splits {', '.join(map(str, given))}, but no train")
    rest = {
        flag: rows
        for flag, rows in found.items()
        if rows is not None and flag not in {**values, **flags}
    }
    return {**flags, **rest, "train_file": found["train_file"]}


def columns_of_tuples(flags: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """What the parts of a row without names are: the text, then the labels."""
    text, labels = (
        flags.get(name) or values.get(name) or default
        for name, default in (("text_column", "text"), ("label_columns", ["label"]))
    )
    return [text, *([labels] if isinstance(labels, str) else labels)]


def keep_tables(written: Mapping[str, Path], kept: Mapping[str, Path], args: Arguments) -> None:
    """Put tables where their run finds them again, and name those places in `args`; under a launcher one process does.

    Raises:
        UserError: as `put_tables` does.
    """
    on_main(partial(put_tables, written, kept, args))
    for name, path in kept.items():
        setattr(args.data, name, str(path))
        args.given[name] = str(path)


def put_tables(written: Mapping[str, Path], kept: Mapping[str, Path], args: Arguments) -> None:
    """Claim the output folder for a run, and put its tables there.

    Raises:
        UserError: when the folder holds another run, or (folds, a run to resume) the same one with other rows.
    """
    folder = Path(args.training.output_dir)
    if not is_ours(folder):
        check_not_foreign(folder, [f"data/{path.name}" for path in kept.values()])
    if args.training.do_train and not has_members(args):
        claim_output_dir(args.training)
    holds_a_run = bool(checkpoints(folder)) or (folder / "resolved_config.yaml").is_file()
    for name, path in kept.items():
        if holds_a_run and path.is_file() and not cmp(written[name], path, shallow=False):
            raise UserError(
                f"output_dir {folder} holds a run on other rows ({path}): give overwrite_output_dir=True to replace "
                "it, or another folder"
            )
    if kept:
        mark(folder, ())
    for name, path in kept.items():
        with atomic_path(path) as beside:
            copyfile(written[name], beside)


def write_table(
    rows: Any, path: Path, name: str, columns: Sequence[str] = ("text", "label")
) -> None:
    """Rows in any form that `fit` takes as jsonl; class ids become class names, `columns` are those of tuples."""
    names = class_names(getattr(rows, "features", {}))
    with atomic_writer(path) as file:
        for number, row in enumerate(as_rows(rows, name), 1):
            values = as_mapping(row, columns, f"{name}, row {number}")
            values = {
                key: named(value, names[key]) if key in names else value
                for key, value in values.items()
            }
            line = json_text(values, default=as_plain)
            if broken_at(line) is not None:
                raise UserError(
                    f"{name}, row {number}: holds a broken character (half of a surrogate pair)"
                )
            file.write(line + "\n")


def as_rows(rows: Any, name: str) -> Iterable:
    """A table row by row.

    Raises:
        UserError: for columns of different lengths, and for what is no table.
    """
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        return rows.to_dict(orient="records")
    if not isinstance(rows, Mapping):
        if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
            raise UserError(f"{name}: expected a file or rows, got {type(rows).__name__}")
        return rows
    lengths = {str(key): len(column) for key, column in rows.items() if is_column(column)}
    if len(lengths) < len(rows) or len(set(lengths.values())) > 1:
        found = [
            f"{key!r}: {lengths.get(str(key), type(column).__name__)}"
            for key, column in rows.items()
        ]
        raise UserError(
            f"{name}: a mapping must hold lists of the same length; got {', '.join(found)[:200]}"
        )
    return (dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True))


def is_column(values: Any) -> bool:
    """Whether this is a list, an array, a series or the like."""
    return hasattr(values, "__len__") and not isinstance(values, (str, bytes, Mapping))


def as_mapping(row: Any, columns: Sequence[str], where: str) -> Mapping[str, Any]:
    """A row by column; of a tuple the text, then the labels.

    Raises:
        UserError: for a row that is neither, or has another number of parts.
    """
    if isinstance(row, Mapping):
        return row
    if not isinstance(row, tuple):
        raise UserError(
            f"{where}: expected a mapping of columns to values, got {type(row).__name__}; give a file, a data frame, "
            "a datasets.Dataset, a list of mappings or of tuples"
        )
    row_columns = list(getattr(row, "_fields", columns))  # a named tuple says itself
    if len(row) != len(row_columns):
        raise UserError(f"{where}: {len(row)} values for the columns {', '.join(row_columns)}")
    return dict(zip(row_columns, row, strict=True))


def as_plain(value: Any) -> Any:
    """numpy numbers and arrays as Python's, sets as lists, pandas' missing values as none, dates as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


@contextmanager
def environment_kept():
    """Put `os.environ` back: TrainingArguments sets variables (bf16, FSDP) that later trainings would obey."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
