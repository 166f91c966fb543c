"""What a fold leaves for the whole: its outputs on its validation rows, and its learning curve."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.files import atomic_path, read_json, write_json
from trainer_ext.tasks import Task

OUTPUTS, HISTORY = "validation_outputs.npz", "history.json"


def save_outputs(folder: Path, task: Task, logits: Any, history: list[dict[str, Any]]) -> None:
    """Save logits (N, *head_shape) of the validation rows, in order, and the Trainer's log."""
    arrays = {"logits": logits}
    if task.token_classes:
        intents, tags = logits
        # (words, tags) of each row are stored end to end: an array of arrays would be a pickle, which runs code.
        lengths = np.array([len(row) for row in tags], dtype=np.int64)
        arrays = {"logits": intents, "tag_logits": np.concatenate(list(tags)), "lengths": lengths}
    with atomic_path(folder / OUTPUTS) as beside:
        np.savez(beside, **arrays)
    write_json(folder / HISTORY, history)


def load_outputs(folder: Path, task: Task) -> list[Any]:
    """Return the output of each row, in order, as `task.row_output` gives it.

    Raises:
        UserError: when the file is missing or damaged.
    """
    path = folder / OUTPUTS
    try:
        with np.load(path, allow_pickle=False) as arrays:
            logits = list(arrays["logits"])
            if not task.token_classes:
                return logits
            ends = np.cumsum(arrays["lengths"])[:-1]
            return list(zip(logits, np.split(arrays["tag_logits"], ends), strict=True))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read ({error}); remove {folder} and run the same command again"
        ) from error


def load_history(folder: Path) -> list[dict[str, Any]]:
    """Return the Trainer's log of a fold; empty if there is none."""
    path = folder / HISTORY
    if not path.is_file():
        return []
    return read_json(path)
