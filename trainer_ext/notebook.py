"""`fit`: what `python train.py` does, from a notebook."""

import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from trainer_ext.arguments import Arguments
from trainer_ext.characters import broken_at
from trainer_ext.data.class_names import class_names, named
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_path, atomic_writer
from trainer_ext.folds.members import has_members
from trainer_ext.parsing import parse_values, read_recipe
from trainer_ext.run import run
from trainer_ext.training.checkpoints import checkpoints
from trainer_ext.training.output_dir import check_not_foreign, claim_output_dir, is_ours, mark

TABLES = ("train_file", "validation_file", "test_file")


@dataclass(frozen=True)
class Run:
    """What a run left: the folder with the best model, and the content of its metrics.json."""

    output_dir: Path
    metrics: dict[str, float]


def fit(recipe: str | os.PathLike | Mapping[str, Any] | None = None, **flags: Any) -> Run:
    """Train as `python train.py RECIPE --flag value` does, in this process.

    Args:
        recipe: path of a YAML recipe, or the same as a mapping.
        **flags: any flag of train.py under its name; they win over the recipe, and None takes the recipe's back.
            `train_file`, `validation_file` and `test_file` may be a `pandas.DataFrame`, a `datasets.Dataset` or a
            list of mappings as well: they are kept as `output_dir/data/*.jsonl`, so that the run can be repeated.

    Returns:
        The output folder and the metrics; `trainer_ext.load_predictor(run.output_dir)` answers with the model. With
        `folds` or `seeds` each model trains in a process of its own, the metrics are `oof_*` (`ensemble_*`), `mean_*`
        and `std_*`, and the folder answers with all models together.

    Raises:
        UserError: for what `train.py` ends with exit status 2: bad flags, bad rows, a folder that holds another run.
    """
    values = dict(recipe) if isinstance(recipe, Mapping) else read_recipe(recipe)
    tables = {name: flags.get(name, values.get(name)) for name in TABLES}
    tables = {name: rows for name, rows in tables.items() if rows is not None and not isinstance(rows, (str, Path))}
    folder = flags.get("output_dir", values.get("output_dir"))
    if tables and not folder:
        raise UserError("no output_dir: say where the model goes")
    kept = {name: Path(folder) / "data" / f"{name.removesuffix('_file')}.jsonl" for name in tables}
    with environment_kept(), TemporaryDirectory() as beside:
        written = {name: Path(beside) / path.name for name, path in kept.items()}
        for name, rows in tables.items():
            write_table(rows, written[name], name)
        args = parse_values(values, {**flags, **written})  # the flags are right before anything is left behind
        keep_tables(written, kept, args)
        return Run(Path(args.training.output_dir), run(args))


def keep_tables(written: Mapping[str, Path], kept: Mapping[str, Path], args: Arguments) -> None:
    """Put tables where their run finds them again, and name those places in `args`.

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
        setattr(args.data, name, str(path))
        args.given[name] = str(path)


def write_table(rows: Any, path: Path, name: str) -> None:
    """Rows of a data frame, a `datasets.Dataset` or a list of mappings as jsonl; class ids become class names."""
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        rows = rows.to_dict(orient="records")
    names = class_names(getattr(rows, "features", {}))
    with atomic_writer(path) as file:
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise UserError(
                    f"{name}, row {number}: expected a mapping of columns to values, got {type(row).__name__}; "
                    "give a file, a data frame, a datasets.Dataset or a list of mappings"
                )
            values = {key: named(value, names[key]) if key in names else value for key, value in row.items()}
            line = json.dumps(values, ensure_ascii=False, default=as_plain)
            if broken_at(line) is not None:
                raise UserError(f"{name}, row {number}: holds a broken character (half of a surrogate pair)")
            file.write(line + "\n")


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
