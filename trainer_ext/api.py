"""Train and cross-validate from a notebook.

`fit` and `cross_validate` do what `python train.py` does, in this process.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from filecmp import cmp
from functools import cached_property, partial
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from typing_extensions import Unpack

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.keywords import FoldKeywords, Keywords
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.parser import parse_values
from trainer_ext.arguments.recipe import read_recipe
from trainer_ext.compression.stages import Compression
from trainer_ext.cross_validation.dispatch import run
from trainer_ext.cross_validation.members import has_members
from trainer_ext.data.in_memory import SPLIT_NAMES, columns_of_tuples, divide_splits, write_table
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_path
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.processes import on_main
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.runs.output_dir import check_not_foreign, is_ours, mark, take_output_dir
from trainer_ext.search.dispatch import run_search_or
from trainer_ext.training.trainer import CustomTrainer

Recipe = str | os.PathLike | Mapping[str, Any] | None


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        output_dir: the folder with the best model, or with all folds or seeds.
        metrics: the content of its metrics.json; of folds `oof_*`, `mean_*` and `std_*`; of widths the metric of each.
        trainer: the `transformers.Trainer` that trained; None if nothing, or several models, were trained.
    """

    output_dir: Path
    metrics: dict[str, float]
    trainer: CustomTrainer | None = field(default=None, repr=False, compare=False)

    @property
    def history(self) -> list[dict[str, float]]:
        """What was logged while training: losses, learning rates and evaluations, one mapping for each log."""
        return self.trainer.state.log_history if self.trainer else []

    @cached_property
    def predictor(self) -> Predictor:
        """The best model as it was saved, or all folds (seeds) together."""
        return load_predictor(self.output_dir)

    def predict(self, texts: Any) -> list[dict[str, Any]]:
        """Return an answer for each text; texts as `Predictor.predict` takes them."""
        return self.predictor.predict(texts)


class KeptTrainer(Compression):
    """Adds the trainer to a list, for `Run.trainer`.

    Args:
        flags: of the run.
        trainers: the list.
    """

    def __init__(self, flags: ModelArguments, trainers: list[CustomTrainer]):
        super().__init__(flags)
        self.trainers = trainers

    def on_trainer(self, trainer: CustomTrainer) -> None:
        self.trainers.append(trainer)
        super().on_trainer(trainer)


def fit(recipe: Recipe = None, **flags: Unpack[Keywords]) -> Run:
    """Train as `python train.py RECIPE --flag value` does, in this process.

    >>> from trainer_ext import fit
    >>> rows = [("a good film", "positive"), ("a bad film", "negative")] * 8
    >>> run = fit(
    ...     train_file=rows,
    ...     validation_file=rows,
    ...     from_scratch="tiny",
    ...     max_length=16,
    ...     max_steps=2,
    ...     report_to="none",
    ...     output_dir="outputs/films",
    ... )
    >>> sorted(run.predict(["a good film"])[0]["probabilities"])
    ['negative', 'positive']

    Args:
        recipe: path of a YAML recipe, or the same as a mapping.
        **flags: any flag of train.py under its name; they win over the recipe, and None takes the recipe's back.
            `train_file`, `validation_file` and `test_file` may be rows as well: a `pandas.DataFrame`, a
            `datasets.Dataset`, a list of mappings or of tuples (the text, then the labels), or a mapping of columns to
            lists; `train_file` a `DatasetDict` with all splits. They are kept as `output_dir/data/*.jsonl`, so that the
            run can be repeated.

    Returns:
        The output folder and the metrics. `run.predict(texts)` answers with the model, as does
        `trainer_ext.load_predictor(run.output_dir)`; `run.history` and `run.trainer` show how it was trained. With
        `folds` or `seeds` each model trains in a process of its own, and the folder answers with all models together.

    Raises:
        UserError: for what `train.py` ends with exit status 2: bad flags, bad rows, a folder that holds another run.
    """
    return train(recipe, dict(flags))


def cross_validate(
    recipe: Recipe = None,
    folds: int | None = None,
    **flags: Unpack[FoldKeywords],
) -> Run:
    """Train one model per fold, each in a process of its own, as `python train.py RECIPE --folds 5` does.

    >>> from trainer_ext import cross_validate
    >>> rows = [(f"a good film, {k}", "positive") for k in range(8)]
    >>> rows += [(f"a bad film, {k}", "negative") for k in range(8)]
    >>> run = cross_validate(
    ...     train_file=rows,
    ...     folds=2,
    ...     from_scratch="tiny",
    ...     max_length=16,
    ...     max_steps=2,
    ...     report_to="none",
    ...     output_dir="outputs/films-cv",
    ... )
    >>> sorted(path.name for path in run.output_dir.glob("fold-*"))
    ['fold-0', 'fold-1']
    >>> 0 <= run.metrics["oof_accuracy"] <= 1
    True

    Args:
        recipe: as `fit` takes it.
        folds: number of parts of the training rows; by default the recipe's, else 5.
        **flags: any other flag of train.py, as `fit` takes them. `fold=2` trains that fold only.

    Returns:
        The folder of all folds, with `oof.csv` (every row, predicted by the model that was not trained on it) and
        `cv.json`; `run.metrics` has `oof_*`, `mean_*` and `std_*`, and `run.predict` is the mean of all folds.

    Raises:
        UserError: as `fit` does.
        RunError: when a fold failed; called again, the others are kept.
    """
    values = read_values(recipe)
    if folds is None:
        folds = values.get("folds") or 5
    return train(values, {**flags, "folds": folds})


def read_values(recipe: Recipe) -> dict[str, Any]:
    """Return the values of a recipe, given as a mapping or as the path of a YAML file."""
    if isinstance(recipe, Mapping):
        return dict(recipe)
    return read_recipe(None if recipe is None else Path(recipe))


def train(recipe: Recipe, flags: dict[str, Any]) -> Run:
    """Write rows that are in memory to files, then parse, train and return what the run left."""
    values = read_values(recipe)
    flags = divide_splits(flags, values)
    tables = {}
    for name in SPLIT_NAMES:
        rows = flags.get(name, values.get(name))
        if rows is not None and not isinstance(rows, (str, Path)):
            tables[name] = rows
    folder = flags.get("output_dir", values.get("output_dir"))
    if tables and not folder:
        raise UserError("output_dir is missing: give a folder for the model")
    kept = {}
    for name in tables:
        split = name.removesuffix("_file")
        kept[name] = Path(folder or "") / "data" / f"{split}.jsonl"
    with environment_kept(), TemporaryDirectory() as scratch:
        written = {name: Path(scratch) / path.name for name, path in kept.items()}
        columns = columns_of_tuples(flags, values)
        for name, rows in tables.items():
            write_table(rows, written[name], name, columns)
        # Parsed from the scratch folder: a wrong flag leaves nothing in the output folder.
        args = parse_values(values, {**flags, **written})
        keep_tables(written, kept, args)
        trainers: list[CustomTrainer] = []

        def train_one(args: Arguments) -> dict[str, float]:
            return run(args, KeptTrainer(args.model, trainers))

        metrics = run_search_or(args, train_one)
        if args.model.has_widths:
            trainers.clear()
        return Run(Path(args.training.output_dir), metrics, *trainers[-1:])


def keep_tables(written: Mapping[str, Path], kept: Mapping[str, Path], args: Arguments) -> None:
    """Keep tables in the output folder and name these files in `args`; under a launcher the main process writes.

    Raises:
        UserError: as `copy_tables` does.
    """
    on_main(partial(copy_tables, written, kept, args))
    for name, path in kept.items():
        setattr(args.data, name, str(path))
        args.given[name] = str(path)


def copy_tables(written: Mapping[str, Path], kept: Mapping[str, Path], args: Arguments) -> None:
    """Take the output folder for a run, and copy its tables there.

    Raises:
        UserError: when the folder holds another run, or (folds, a run to resume) the same one with other rows.
    """
    folder = Path(args.training.output_dir)
    if not is_ours(folder):
        check_not_foreign(folder, [f"data/{path.name}" for path in kept.values()])
    has_several = has_members(args) or args.model.has_widths or args.folds.search
    if args.training.do_train and not has_several:
        take_output_dir(args.training)
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


@contextmanager
def environment_kept() -> Iterator[None]:
    """Put `os.environ` back: TrainingArguments sets variables (bf16, FSDP) that later trainings would obey."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
