"""The `checkpoint-N` folders of a run: whether training can resume from one, and which holds the best model.

Everything is found beside the checkpoint that is resumed. The state that the Trainer keeps names paths as well, but a
folder may have been moved since, and another run may lie where it was.
"""

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers import TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError

PREFIX = "checkpoint-"


def checkpoints(folder: Path) -> list[Path]:
    """Return the `checkpoint-N` folders, oldest step first."""
    by_step = {}
    for path in folder.glob(f"{PREFIX}*"):
        step = path.name.removeprefix(PREFIX)
        if path.is_dir() and step.isdecimal():
            by_step[int(step)] = path
    # By number: sorted by name, checkpoint-1000 would come before checkpoint-200.
    return [by_step[step] for step in sorted(by_step)]


def is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint was written to its end: Trainer writes trainer_state.json last."""
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # Without its step the Trainer would begin anew, with trained weights.
    return isinstance(state, dict) and "global_step" in state


def state_of(checkpoint: Path) -> TrainerState:
    """Return the Trainer's state in a complete checkpoint.

    Raises:
        UserError: when the file holds something else.
    """
    path = checkpoint / TRAINER_STATE_NAME
    try:
        return TrainerState.load_from_json(str(path))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def damage(checkpoint: Path, args: TrainingArguments) -> str | None:
    """Return what keeps training from resuming from a checkpoint that was written to its end; None if nothing does."""
    # They keep weights and optimizers in files of their own, which they check themselves.
    if args.deepspeed or args.fsdp:
        return None
    problem = damaged_weights(checkpoint)
    if problem:
        return problem
    random_states = sorted(checkpoint.glob("rng_state*.pth"))
    if not random_states:
        return "it has no rng_state.pth"
    for path in (checkpoint / OPTIMIZER_NAME, checkpoint / SCHEDULER_NAME, *random_states):
        if not path.is_file():
            return f"it has no {path.name}"
        # A kill leaves files cut off; loaded, they end in an error of pickle that names no file.
        if not is_readable_archive(path):
            return f"{path.name} is cut off or damaged"
    return None


def damaged_weights(folder: Path) -> str | None:
    """Return what is wrong with the weights in a folder; None if nothing is."""
    names = [SAFE_WEIGHTS_NAME]
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file():
        try:
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(shards.values()))
        except (OSError, ValueError, KeyError, AttributeError):
            return f"{index.name} is damaged"
    for name in names:
        if not (folder / name).is_file():
            return f"it has no {name}"
        try:
            # Opening compares the file's size with its header, without reading the weights.
            with safe_open(folder / name, "np"):
                pass
        except (OSError, SafetensorError):
            return f"{name} is cut off or damaged"
    return None


def is_readable_archive(path: Path) -> bool:
    """Return whether a file of `torch.save`, a zip archive, can be read to its end; its parts have checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, zipfile.BadZipFile):
        return False


def best_step(state: TrainerState) -> int | None:
    """Return the step of the best model so far; None if there is none yet."""
    if state.best_global_step:
        return state.best_global_step
    # States of older versions of transformers name only the folder.
    step = Path(state.best_model_checkpoint or "").name.removeprefix(PREFIX)
    if step.isdecimal():
        return int(step)
    return None


def best_beside(checkpoint: Path, state: TrainerState) -> Path | None:
    """Return the checkpoint of the best model so far, beside one of the same run; None if no step was the best yet.

    Raises:
        UserError: when it is not there, or damaged.
    """
    step = best_step(state)
    if step is None:
        return None
    best = checkpoint.parent / f"{PREFIX}{step}"
    problem = damaged_weights(best) if best.is_dir() else "it is not there"
    if problem:
        raise UserError(
            f"the best model of the run behind {checkpoint} is that of step {step}, which must lie beside it as "
            f"{best}, but {problem}. Put it there; --load_best_model_at_end false goes on without it"
        )
    return best


def name_best(state: TrainerState, best: Path | None) -> None:
    """Set which checkpoint holds the best model in a state, which may have been saved with another path."""
    state.best_model_checkpoint = None
    if best:
        state.best_model_checkpoint = str(best)
        state.best_global_step = int(best.name.removeprefix(PREFIX))
