"""A predictor from one folder: which file it runs, and whether what lies there is whole."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.inference.damage import check_pipeline
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.predictor import Predictor, Session, is_rusts
from trainer_ext.inference.session import OnnxSession
from trainer_ext.tasks import TASKS, Calibration

ONNX_FILES = ("model_quantized.onnx", "model.onnx")


def load_single(
    path: str | Path,
    num_threads: int | None = None,
    provider: str = "auto",
    batch_size: int = 8,
    file_name: str | None = None,
    trust_remote_code: bool = False,
) -> Predictor:
    """A predictor from one checkpoint or ONNX folder; `load_predictor` takes several, too.

    Args:
        path: folder written by `train.py` or `export.py`.
        num_threads: None: the cores this process may use.
        provider: auto, cpu or cuda.
        batch_size: rows in one run.
        file_name: which ONNX file; None: the one the export report chose.
        trust_remote_code: whether code that a checkpoint brings may be run.

    Raises:
        UserError: when the folder is not there, not a model, or broken.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(
            f"model {path} does not exist"
            if not folder.exists()
            else f"model {path} is not a folder"
        )
    pipeline = read_pipeline(folder)
    file = folder / (file_name or chosen_file(folder))
    if not file.is_file():
        chosen = not file_name and (folder / "export_report.json").is_file()
        raise UserError(
            f"model {path} has no {file.name}"
            + (", which its export report chose" if chosen else "")
        )
    if file.suffix == ".onnx":
        note_other_machine(folder)
        session: Session = OnnxSession(file, num_threads, provider)
    else:
        from trainer_ext.modeling.session import TorchSession

        session = TorchSession(folder, num_threads, provider, trust_remote_code)
    return Predictor(session, read_tokenizer(folder), pipeline, batch_size)


def note_other_machine(folder: Path) -> None:
    """Say once when a model was proven on a CPU of other instructions, on which INT8 may round and run otherwise."""
    report = folder / "export_report.json"
    content = read_json(report) if report.is_file() else {}
    before, here = (
        content.get("instruction_set") if isinstance(content, dict) else None,
        instruction_set(),
    )
    if before and before != here:
        say_once(
            f"note: {folder.name} was proven on {before}, this CPU is {here}: export it here to be sure"
        )


@cache
def say_once(note: str) -> None:
    """Print a line, unless it was printed before."""
    print(note, file=sys.stderr)


def chosen_file(folder: Path) -> str:
    """What to run: the export report's choice; without a report INT8, else ONNX, else the checkpoint's weights."""
    report = folder / "export_report.json"
    if report.is_file():
        content = read_json(report)
        try:
            return next(
                item["file"] for item in content["variants"] if item["name"] == content["chosen"]
            )
        except (TypeError, KeyError, StopIteration) as error:
            raise UserError(f"{report} is no export report: it names no chosen variant") from error
    return next((name for name in ONNX_FILES if (folder / name).is_file()), "model.safetensors")


def read_pipeline(folder: Path) -> dict[str, Any]:
    """What the config says about the use of the model, checked to be whole."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"model {folder} has no config.json: it is neither a checkpoint nor an ONNX folder"
        )
    pipeline = check_pipeline(path, read_json(path))
    space_class = TASKS[pipeline["task"]].label_space_class
    readers = {
        "label_space": space_class,
        "calibration": Calibration,
        "cleaning": Cleaning,
        "truncation": Truncation,
    }
    for key, kind in readers.items():
        try:
            kind.from_dict(pipeline.get(key))
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise UserError(
                f"{path}: the {key.replace('_', ' ')} is not readable: {error}"
            ) from error
    return pipeline


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in the folder's tokenizer.json."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"model {folder} has no tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:
        if not is_rusts(error):
            raise
        raise UserError(f"{path} cannot be read: {error}") from error
