"""Which labelled rows an export is proven on: --eval_file, else the rows the checkpoint was chosen on."""

import logging
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.dataset import recorded_rows
from trainer_ext.data.fold_table import validation_rows_of
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import labelled_rows, texts_and_labels
from trainer_ext.data.row_hash import examples_sha256
from trainer_ext.errors import UserError
from trainer_ext.export.options import ExportOptions
from trainer_ext.inference import Predictor
from trainer_ext.tasks import Task

logger = logging.getLogger(__name__)

GATE_COLUMNS = "; the rows need the columns of the training, unless --text_column and --label_columns name others"


class EvalRows(NamedTuple):
    """Texts (for `joint` lists of tokens) and their labels, as the task encodes them."""

    texts: list[Any]
    labels: list[Any]


def evaluation_rows(options: ExportOptions, predictor: Predictor) -> EvalRows:
    """Return the rows of --eval_file, else of the validation the checkpoint was chosen on.

    A fold and a run with --validation_split were validated on a part of their training file; any other run on its
    validation file.

    Raises:
        UserError: if there are no such rows, or they have changed places or content since the training.
    """
    if options.eval_file:
        return rows_of_file(options.eval_file, options, predictor)
    for name in ("text_column", "label_columns"):
        if getattr(options, name):
            raise UserError(f"--{name} is for --eval_file, which is not given")
    task = predictor.task
    text_column = predictor.pipeline.text_column
    # Before the recorded validation file: a fold of a run with a soup has both, and was not judged on that file.
    rows = recorded_fold_rows(options.model, task)
    if not rows:
        rows = kept_back_rows(options.model, predictor)
    if rows:
        first_rows = rows[: options.max_eval_samples]
        return EvalRows(*texts_and_labels(first_rows, text_column, task))
    texts, labels = recorded_validation_rows(options.model, predictor)
    return EvalRows(texts[: options.max_eval_samples], labels[: options.max_eval_samples])


def rows_of_file(path: str, options: ExportOptions, predictor: Predictor) -> EvalRows:
    """Return the rows of --eval_file, whose columns may be called otherwise than those of the training."""
    pipeline = predictor.pipeline.with_columns(options.text_column, options.label_columns)
    task = pipeline.task
    text_column = pipeline.text_column
    rows = read_rows_of(path, options.files, task, text_column, options.max_eval_samples)
    return EvalRows(*texts_and_labels(rows, text_column, task))


def read_rows_of(
    path: str,
    files: FileOptions,
    task: Task,
    text_column: str,
    limit: int | None,
) -> list[Row]:
    """Return the first `limit` labelled rows of a file; `UserError` if it does not have any."""
    columns = task.label_space.columns
    labelled = labelled_rows(path, task, text_column, columns, files, hint=GATE_COLUMNS)
    rows = list(islice(labelled, limit))
    if not rows:
        raise UserError(f"{path} is empty: it has no rows")
    return rows


def recorded_validation_rows(model: Path, predictor: Predictor) -> EvalRows:
    """Return the rows of the validation file that the checkpoint's recipe names, as the training read them.

    Raises:
        UserError: if none is recorded, or it is not there.
    """
    task = predictor.task
    text_column = predictor.pipeline.text_column
    path, files = recorded_validation_file(model)
    if not path:
        raise UserError(
            "no rows to prove the export on: give --eval_file "
            "(the checkpoint records no validation file)"
        )
    limit = recorded_config(model).get("max_eval_samples")
    rows = read_rows_of(path, files, task, text_column, limit)
    texts, labels = texts_and_labels(rows, text_column, task)
    recorded_hash = predictor.pipeline.validation_data_sha256
    # A relative path may lead to another file from another directory. The gate still says what it measured.
    if recorded_hash and recorded_hash != examples_sha256(zip(texts, labels, strict=True)):
        logger.warning("%s holds other rows now than those %s was chosen on", path, model)
    return EvalRows(texts, labels)


def kept_back_rows(model: Path, predictor: Predictor) -> list[Row]:
    """Return the rows that `validation_split` kept back from training; none if the run had another validation.

    Raises:
        UserError: if its training file is not there, or holds other rows now.
    """
    config = recorded_config(model)
    if config.get("validation_split") and config.get("train_file"):
        config["train_file"] = str(recorded_path(model, config, "train_file"))
    return recorded_rows(config, predictor.task, predictor.pipeline.train_data_sha256)


def recorded_fold_rows(model: Path, task: Task) -> list[Row]:
    """Return the part of the training file that a fold was validated on; none if the checkpoint is not a fold.

    Raises:
        UserError: if that file is not there.
    """
    config = recorded_config(model)
    if "fold" not in config or not config.get("train_file"):
        return []
    config["train_file"] = str(recorded_path(model, config, "train_file"))
    return validation_rows_of(model.parent, config, task)


def recorded_config(model: Path) -> dict[str, Any]:
    """Return the checkpoint's resolved_config.yaml; empty if it does not have a readable one."""
    try:
        content = (model / "resolved_config.yaml").read_text(encoding="utf-8")
        return dict(yaml.safe_load(content))
    except (OSError, yaml.YAMLError, TypeError, ValueError):
        return {}


def recorded_validation_file(model: Path) -> tuple[str | None, FileOptions]:
    """Return `validation_file` and its reading flags from resolved_config.yaml; None if no file is recorded.

    Raises:
        UserError: if the file is not there, or not found from the working directory.
    """
    config = recorded_config(model)
    files = recorded_files(config)
    if not config.get("validation_file"):
        return None, files
    return str(recorded_path(model, config, "validation_file")), files


def recorded_files(config: dict[str, Any]) -> FileOptions:
    """Return the reading flags of a recorded configuration."""
    names = {spec.name for spec in fields(FileOptions)}
    return FileOptions(**{name: value for name, value in config.items() if name in names})


def recorded_path(model: Path, config: dict[str, Any], flag: str) -> Path:
    """Return where a file named in a checkpoint's recipe is now.

    Tables given to `fit` are kept in the run's own folder, and move along with it.

    Raises:
        UserError: if it is not there.
    """
    path = Path(str(config[flag]))
    output_dir = config.get("output_dir")
    if output_dir and path.is_relative_to(output_dir):
        # A member's recipe has the output_dir of the whole run, one level above the member.
        is_member = "fold" in config or bool(config.get("seeds"))
        run_folder = model.parent if is_member else model
        # Looked for first: another run may by now be at the old path.
        moved = run_folder / path.relative_to(output_dir)
        if moved.is_file():
            return moved
    if path.is_file():
        return path
    if path.is_absolute():
        advice = ": give --eval_file"
    else:
        advice = f" from {Path.cwd()}: start export.py where the training was started, or give --eval_file"
    raise UserError(f"the {flag} of {model}, {path}, is not there{advice}")
