"""The output folder: refused when it holds another run, cleared on request, resumed where a run was cut off."""

import json
import shutil
from pathlib import Path

from trainer_ext.errors import UserError
from trainer_ext.training_arguments import TrainingArguments

# What a run leaves at the top of its folder; nothing else is ever deleted.
OURS = ("config.json", "model.safetensors", "metrics.json", "resolved_config.yaml", "README.md", "plots")


def claim_output_dir(args: TrainingArguments) -> str | None:
    """Make sure the folder is free for this run, and find the checkpoint to resume from.

    Returns:
        The newest whole checkpoint with `resume_from_checkpoint true` (None when there is none yet: the run then
        starts at the beginning), the one named by it otherwise, None without the flag.

    Raises:
        UserError: when the folder holds another run and neither overwriting nor resuming was asked for.
    """
    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir {folder} is a file")
    resume = str(args.resume_from_checkpoint or "false")
    if resume.lower() not in ("true", "false"):
        if not is_whole(Path(resume)):
            raise UserError(
                f"resume_from_checkpoint {resume} is not a whole checkpoint (no readable trainer_state.json)"
            )
        return to_resume_from(Path(resume), args)
    if resume.lower() == "true":
        for broken in (c for c in checkpoints(folder) if not is_whole(c)):
            shutil.rmtree(broken)  # cut off while it was written
        found = checkpoints(folder)
        return to_resume_from(found[-1], args) if found else None
    if args.overwrite_output_dir:
        clear(folder)
    elif checkpoints(folder) or any((folder / name).exists() for name in OURS):
        raise UserError(
            f"output_dir {folder} already holds another run: give --overwrite_output_dir true to replace it, "
            "--resume_from_checkpoint true to go on with it, or another folder"
        )
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The `checkpoint-N` folders, oldest step first."""
    found = [c for c in folder.glob("checkpoint-*") if c.is_dir() and c.name.removeprefix("checkpoint-").isdecimal()]
    return sorted(found, key=lambda c: int(c.name.removeprefix("checkpoint-")))


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: Trainer writes trainer_state.json last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def to_resume_from(checkpoint: Path, args: TrainingArguments) -> str:
    """The checkpoint, which must hold the optimizer as well; DeepSpeed and FSDP keep it in files of their own."""
    if not (args.deepspeed or args.fsdp or (checkpoint / "optimizer.pt").is_file()):
        raise UserError(
            f"{checkpoint} holds no optimizer (save_only_model true?), so that training cannot go on from it: give it "
            "as model_name_or_path with another output_dir, or --overwrite_output_dir true instead of resuming"
        )
    return str(checkpoint)


def clear(folder: Path) -> None:
    """Remove what an earlier run left, and only that."""
    for path in [*checkpoints(folder), *(folder / name for name in OURS)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def stopped_early(checkpoint: str, patience: int) -> bool:
    """Whether the run behind a checkpoint had used up its patience, so that resuming must not train on."""
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    stored = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    return bool(patience) and stored.get("attributes", {}).get("early_stopping_patience_counter", 0) >= patience
