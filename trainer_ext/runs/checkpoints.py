"""What lies in the `checkpoint-N` folders of a run: whether one can be gone on from, and which holds the best model.

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
    """The `checkpoint-N` folders, oldest step first."""
    found = [
        c
        for c in folder.glob(f"{PREFIX}*")
        if c.is_dir() and c.name.removeprefix(PREFIX).isdecimal()
    ]
    return sorted(found, key=lambda c: int(c.name.removeprefix(PREFIX)))


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: Trainer writes trainer_state.json last."""
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict)


def state_of(checkpoint: Path) -> TrainerState:
    """The Trainer's state in a whole checkpoint.

    Raises:
        UserError: when the file holds something else.
    """
    path = checkpoint / TRAINER_STATE_NAME
    try:
        return TrainerState.load_from_json(str(path))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def damage(checkpoint: Path, args: TrainingArguments) -> str | None:
    """What keeps training from going on from a checkpoint that was written to its end; None when nothing does.

    DeepSpeed and FSDP keep their weights and optimizers in files of their own, which are left to them.
    """
    if args.deepspeed or args.fsdp:
        return None
    if problem := damaged_weights(checkpoint):
        return problem
    random_states = sorted(checkpoint.glob("rng_state*.pth"))
    if not random_states:
        return "it has no rng_state.pth"
    for path in (checkpoint / OPTIMIZER_NAME, checkpoint / SCHEDULER_NAME, *random_states):
        if not path.is_file():
            return f"it has no {path.name}"
        if not is_whole_archive(path):
            return f"{path.name} is cut off or damaged"
    return None


def damaged_weights(folder: Path) -> str | None:
    """What is wrong with the weights in a folder; None when nothing is."""
    names = [SAFE_WEIGHTS_NAME]
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file():
        try:
            names = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (OSError, ValueError, KeyError, AttributeError):
            return f"{index.name} is damaged"
    for name in names:
        if not (folder / name).is_file():
            return f"it has no {name}"
        try:
            with safe_open(folder / name, "np"):  # compares the size with what the header says
                pass
        except (OSError, SafetensorError):
            return f"{name} is cut off or damaged"
    return None


def is_whole_archive(path: Path) -> bool:
    """Whether a file of `torch.save`, a zip archive, can be read to its end; its parts have checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, zipfile.BadZipFile):
        return False


def best_step(state: TrainerState) -> int | None:
    """The step of the best model so far; older states name only its folder."""
    if state.best_global_step:
        return state.best_global_step
    step = Path(state.best_model_checkpoint or "").name.removeprefix(PREFIX)
    return int(step) if step.isdecimal() else None


def best_beside(checkpoint: Path, state: TrainerState) -> Path | None:
    """The checkpoint of the best model so far, beside one of the same run; None where no step was the best yet.

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
    """Let a state say which checkpoint holds the best model, whatever path it was kept with."""
    state.best_model_checkpoint = str(best) if best else None
    if best:
        state.best_global_step = int(best.name.removeprefix(PREFIX))
