"""What is read of one model's folder: pipeline, tokenizer, and what the export report says about its files."""

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.data.preprocessing.plain_checkpoint import is_plain, plain_pipeline
from trainer_ext.errors import UserError
from trainer_ext.files import read_json, read_object
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.layout import find_file, model_folder, name_in_report
from trainer_ext.inference.single import is_tokenizers_error

WEIGHTS = "model.safetensors"
# Without a report the smallest file is run.
ONNX_FILES = ("model_quantized.onnx", "model.onnx")
REPORT = "export_report.json"
# tokenizer.json says all; a checkpoint of plain transformers may have its parts only.
TOKENIZER_FILES = ("tokenizer*.json", "vocab.*", "merges.txt", "*.model")

logger = logging.getLogger(__name__)


def read_pipeline(folder: Path, task: str | None = None) -> Pipeline:
    """Return what the config says about the use of the model, checked to be complete.

    Args:
        folder: of a model of ours, or of one that plain transformers saved.
        task: what the user says it predicts; a plain model may not say so itself.

    Raises:
        UserError: if this is not a folder with a model, its config is damaged, or it is for another task.
    """
    if not folder.exists():
        raise UserError(f"model {folder} does not exist")
    if not folder.is_dir():
        raise UserError(f"model {folder} is not a folder")
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"model {folder} has no config.json: it is neither a checkpoint nor an ONNX folder"
        )
    config = read_json(path)
    if is_plain(config):
        pipeline, notes = plain_pipeline(path, config, task)
        for note in notes:
            note_once(f"{folder}: {note}")
        return pipeline
    pipeline = Pipeline.parse(path, config)
    if task not in (None, pipeline.task.name):
        raise UserError(f"{folder} is a model for {pipeline.task.name}, but the task is {task}")
    return pipeline


def read_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer in the folder's tokenizer.json; `UserError` if it is missing or damaged."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"model {folder} has no tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:  # a panic of the Rust side is not an Exception
        if not is_tokenizers_error(error):
            raise
        raise UserError(f"{path} cannot be read: {error}") from error


def model_file(folder: Path, file_name: str | None = None) -> Path:
    """Return the file to run: `file_name`, or the one that `chosen_file` names.

    Raises:
        UserError: if it is not there.
    """
    file = find_file(folder, file_name or chosen_file(folder))
    if not file.is_file():
        message = f"model {folder} has no {file.name}"
        if file.name == WEIGHTS:
            message += other_weights(folder)
        if not file_name and (folder / REPORT).is_file():
            # The report chose PyTorch: neither ONNX file was good, and none of them is run instead.
            message += ", which its export report chose"
        raise UserError(message)
    return file


def files_of(folder: Path, file_name: str) -> list[Path]:
    """Return the files of a model that decide on its answers, if it runs `file_name`."""
    # A large ONNX model keeps its weights beside it: model.onnx.data, or model.onnx_data.
    file = find_file(folder, file_name)
    weights = sorted(file.parent.glob(f"{file.name}*"))
    others: list[Path] = []
    for pattern in ("config.json", *TOKENIZER_FILES):
        others += sorted(folder.glob(pattern))
    return [*others, *weights]


def other_weights(folder: Path) -> str:
    """Return what to do about weights in another form, which transformers would read; empty if there are none."""
    if (folder / f"{WEIGHTS}.index.json").is_file():
        return ": its weights are in several files; save it with max_shard_size='10GB'"
    # Reading a pickle runs whatever code it holds.
    if (folder / "pytorch_model.bin").is_file():
        return (
            ": its weights are in pytorch_model.bin, a pickle, which may hold code and is not read. "
            "If you trust it, convert it: "
            f"AutoModelForSequenceClassification.from_pretrained({str(folder)!r})"
            ".save_pretrained(...)"
        )
    return ""


def chosen_file(folder: Path) -> str:
    """Return what to run: the export report's choice; without a report INT8, else ONNX, else the checkpoint's weights.

    Raises:
        UserError: for a report that does not name a chosen file.
    """
    path = folder / REPORT
    if not path.is_file():
        for name in ONNX_FILES:
            if find_file(folder, name).is_file():
                return name
        return WEIGHTS
    report = read_json(path)
    try:
        for variant in report["variants"]:
            if variant["name"] == report["chosen"]:
                return str(variant["file"])
    except (TypeError, KeyError) as error:
        raise UserError(f"{path} is not an export report: {error!r}") from error
    raise UserError(f"{path} is not an export report: no variant is marked as chosen")


def recorded_dynamic_int8(file: Path) -> bool | None:
    """Return what the export report says of a file's activation scales; None if it says nothing about this file.

    Looking into the file takes longer, as a float model has to be read to its end. Reports of older exports do not have
    the entry, and a file of another size is not the one that was reported.
    """
    report = read_report(model_folder(file))
    name = name_in_report(file)
    variants = report.get("variants")
    if not isinstance(variants, list):
        return None
    for variant in variants:
        if not isinstance(variant, Mapping) or variant.get("file") != name:
            continue
        recorded = variant.get("dynamic_int8")
        is_same_file = variant.get("bytes") == file.stat().st_size
        if isinstance(recorded, bool) and is_same_file:
            return recorded
    return None


def warn_of_other_machine(folder: Path) -> None:
    """Warn once if a model was proven on a CPU with other instructions, where INT8 may round and run differently."""
    before = read_report(folder).get("instruction_set")
    here = instruction_set()
    if before and before != here:
        warn_once(
            f"{folder.name} was proven on {before}, this CPU is {here}: export it here to be sure"
        )


def read_report(folder: Path) -> Mapping[str, Any]:
    """Return the export report of a folder; empty if it does not have one, or not an object."""
    return read_object(folder / REPORT)


@cache
def warn_once(message: str) -> None:
    """Log a warning, unless it was logged before: an ensemble would repeat it for each model."""
    logger.warning(message)


@cache
def note_once(message: str) -> None:
    """Log a note, unless it was logged before: a model may be loaded several times."""
    logger.info(message)
