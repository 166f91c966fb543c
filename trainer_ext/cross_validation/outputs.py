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
    """Keep logits (N, *head_shape) of the validation rows, in order, and the Trainer's log.

    Tag logits of `joint` (a list of (words, tags)) are stored end to end, with the number of words of each row.
    """
    arrays = {"logits": logits}
    if task.token_classes:
        intents, tags = logits
        lengths = np.array([len(row) for row in tags], dtype=np.int64)
        arrays = {"logits": intents, "tag_logits": np.concatenate(list(tags)), "lengths": lengths}
    with atomic_path(folder / OUTPUTS) as beside:
        np.savez(beside, **arrays)
    write_json(folder / HISTORY, history)


def load_outputs(folder: Path, task: Task) -> list[Any]:
    """The output of each row, in order, as `task.row_output` gives it.

    Raises:
        UserError: when the file is missing or damaged.
    """
    path = folder / OUTPUTS
    try:
        with np.load(path, allow_pickle=False) as arrays:
            logits = list(arrays["logits"])
            if not task.token_classes:
                return logits
            tags = np.split(arrays["tag_logits"], np.cumsum(arrays["lengths"])[:-1])
            return list(zip(logits, tags, strict=True))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read ({error}); remove {folder} and run the same command again"
        ) from error


def load_history(folder: Path) -> list[dict[str, Any]]:
    """The Trainer's log of a fold; empty when there is none."""
    path = folder / HISTORY
    return read_json(path) if path.is_file() else []
