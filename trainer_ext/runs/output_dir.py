"""The output folder: whose it is, refused with another run in it, cleared on request, resumed, and filled at the end.

A run leaves a mark in its folder, which lists every file it writes there. Only a folder with this mark is cleared, and
only of what is on the list; what else lies there is somebody's own and stays. Folders of versions that left no mark are
known by what they hold.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from trainer_ext.arguments.recipe import RESOLVED_HEADER
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError
from trainer_ext.files import check_folder, write_json
from trainer_ext.locks import held
from trainer_ext.runs.checkpoints import checkpoints, damage, is_whole, state_of

MARK = ".trainer_ext.json"
LOCK = ".lock"
PLOTS = ("learning_curves", "confusion_matrix", "f1_by_aspect", "f1_by_class", "predictions")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
TOKENIZER += (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
# What a run writes at the top of its folder, in the order of removal: without the first two it is no finished run and
# no model.
FILES = (
    "metrics.json",
    "config.json",
    "model.safetensors",
    "resolved_config.yaml",
    "README.md",
    *TOKENIZER,
)
FILES += tuple(f"plots/{name}.png" for name in PLOTS)


def claim_output_dir(args: TrainingArguments) -> str | None:
    """Make sure the folder is free for this run, and find the checkpoint to resume from.

    Returns:
        The newest checkpoint that can be gone on from with `resume_from_checkpoint true` (None when there is none yet:
        the run then starts at the beginning), the one named by it otherwise, None without the flag.

    Raises:
        UserError: when the folder holds another run and neither overwriting nor resuming was asked for, when it holds
            what is not of a run, or cannot be written.
    """
    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir {folder} is a file")
    check_folder("output_dir", folder)
    resume = str(args.resume_from_checkpoint or "false")
    if resume.lower() == "true":
        check_not_foreign(folder)
        return newest_checkpoint(folder, args)
    if resume.lower() == "false":
        check_free(folder, args.overwrite_output_dir)
        return None
    named = Path(resume)
    if not is_whole(named):
        raise UserError(
            f"resume_from_checkpoint {resume} is not a whole checkpoint (no readable trainer_state.json)"
        )
    if named.resolve().parent != folder.resolve():
        check_free(folder, args.overwrite_output_dir)
    check_undamaged(named, args)
    return str(named)


def check_free(folder: Path, overwrite: bool) -> None:
    """Let a folder hold no run: it is cleared of one with `overwrite`, and refused without.

    Raises:
        UserError: when it holds another run, or files of somebody's own that a run would replace.
    """
    check_not_foreign(folder)
    if not holds_run(folder):
        return
    if not overwrite:
        raise UserError(
            f"output_dir {folder} already holds another run: give --overwrite_output_dir true to replace it, "
            "--resume_from_checkpoint true to go on with it, or another folder"
        )
    check_may_be_cleared(folder)
    clear(folder)


def check_not_foreign(folder: Path, files: Iterable[str] = FILES) -> None:
    """Refuse a folder where this run would replace what no run of this project has written.

    Raises:
        UserError: naming what lies there.
    """
    known = written(folder)
    there = [name for name in files if name not in known and (folder / name).exists()]
    if not is_ours(folder):
        there += [path.name for path in checkpoints(folder)]
    if there:
        raise UserError(
            f"output_dir {folder} holds {', '.join(there[:3])}{', ...' if len(there) > 3 else ''}, which no run of "
            "this project has written: a run would replace it. Give another folder"
        )


def check_may_be_cleared(folder: Path) -> None:
    """Refuse to clear what is more than an output folder.

    Raises:
        UserError: for the working directory, a home, a root (or what these lie in), and a git checkout.
    """
    place = folder.resolve()
    for what, path in (("the working directory", Path.cwd()), ("the home directory", Path.home())):
        if path.resolve().is_relative_to(place):
            raise UserError(
                f"output_dir {folder} is {what}, or holds it, and is never cleared: give another folder"
            )
    if (place / ".git").exists():
        raise UserError(
            f"output_dir {folder} is a git checkout and is never cleared: give another folder"
        )


def newest_checkpoint(folder: Path, args: TrainingArguments) -> str | None:
    """The newest checkpoint of a run to go on from; None before there is one. Torn and damaged later ones go.

    Raises:
        UserError: when there are only damaged ones, or the run is finished and left none.
    """
    useless, problems = [], []
    for checkpoint in reversed(checkpoints(folder)):
        problem = damage(checkpoint, args) if is_whole(checkpoint) else None
        if is_whole(checkpoint) and (
            problem is None or args.save_only_model or not has_optimizer(checkpoint, args)
        ):
            check_undamaged(checkpoint, args)
            for path, why in zip(useless, problems, strict=True):
                print(
                    f"note: {path} is left out: {why}; going on from {checkpoint}", file=sys.stderr
                )
                shutil.rmtree(path)
            return str(checkpoint)
        useless.append(checkpoint)
        problems.append(problem or "it was cut off while it was written")
    whole = [path for path in useless if is_whole(path)]
    if whole:
        raise UserError(
            f"{whole[0]} is damaged ({damage(whole[0], args)}), and there is none before it to go on from: remove it "
            "to begin at the start"
        )
    if (folder / "metrics.json").is_file():
        raise UserError(
            f"output_dir {folder} holds a finished run and no checkpoint to go on from: give --overwrite_output_dir "
            f"true to train it anew, or --model_name_or_path {folder} with another output_dir to train on from it"
        )
    for path in useless:
        shutil.rmtree(path)
    return None


def has_optimizer(checkpoint: Path, args: TrainingArguments) -> bool:
    """Whether a checkpoint was saved with its optimizer; DeepSpeed and FSDP keep it in files of their own."""
    return bool(args.deepspeed or args.fsdp or (checkpoint / "optimizer.pt").is_file())


def check_undamaged(checkpoint: Path, args: TrainingArguments) -> None:
    """Refuse a checkpoint that lacks what training goes on with.

    Raises:
        UserError: naming the file.
    """
    if not has_optimizer(checkpoint, args):
        raise UserError(
            f"{checkpoint} holds no optimizer (save_only_model true?), so that training cannot go on from it: give it "
            "as model_name_or_path with another output_dir, or --overwrite_output_dir true instead of resuming"
        )
    if problem := damage(checkpoint, args):
        raise UserError(
            f"{checkpoint} is damaged: {problem}. Give an earlier checkpoint, or begin anew"
        )


def is_ours(folder: Path) -> bool:
    """Whether a run of this project has written here: by its mark, or as versions without one left their folders."""
    if (folder / MARK).is_file():
        return True
    made = is_our_model(folder) or any(
        (folder / name).is_file() for name in ("folds.json", "seeds.json")
    )
    trained = (
        made
        and starts_with(folder / "resolved_config.yaml", RESOLVED_HEADER)
        and not any(folder.glob("*.onnx"))
    )
    return trained or any(map(is_our_model, checkpoints(folder)))


def is_our_model(folder: Path) -> bool:
    """Whether the config in a folder is that of a model of this project."""
    try:
        return "pipeline" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def starts_with(path: Path, beginning: str) -> bool:
    """Whether a text file begins like this."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(len(beginning)) == beginning
    except (OSError, ValueError):
        return False


def holds_run(folder: Path) -> bool:
    """Whether something of a run lies in a folder."""
    return bool(checkpoints(folder)) or any((folder / name).exists() for name in written(folder))


def written(folder: Path) -> list[str]:
    """Names of the files that are a run's; nothing in a folder that holds none.

    Raises:
        UserError: when the list cannot be read, or names what is not inside the folder: what is named may be removed.
    """
    try:
        names = json.loads((folder / MARK).read_text(encoding="utf-8"))["files"]
        if not isinstance(names, list):
            raise ValueError("its files are no list")
        if outside := [name for name in names if not is_inside(folder, name)]:
            raise ValueError(f"{outside[0]!r} is no file inside the folder")
        return list(names)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{folder / MARK}, which lists what a run has written there, cannot be read: {error}. Give another folder"
        ) from error
    if not is_ours(folder):
        return []
    card = starts_with(folder / "README.md", "---\nlibrary_name: trainer-ext\n")
    return [name for name in FILES if name != "README.md" or card]


def is_inside(folder: Path, name: Any) -> bool:
    """Whether a name on a list is that of a file in the folder: whoever made the list may not reach elsewhere."""
    if not isinstance(name, str) or "\0" in name or "\\" in name or not PurePosixPath(name).name:
        return False
    path = PurePosixPath(name)
    climbs = path.is_absolute() or ".." in path.parts
    return not climbs and (folder / path).parent.resolve().is_relative_to(folder.resolve())


def mark(folder: Path, files: Iterable[str] = FILES) -> None:
    """Mark a folder as a run's, which writes these files too; before they are written."""
    known = written(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / MARK,
        {"what": "files of a trainer-ext run", "files": list(dict.fromkeys([*known, *files]))},
    )


def clear(folder: Path, files: Iterable[str] = ()) -> None:
    """Remove what an earlier run left, and only that: first what makes it a finished run and a model.

    Args:
        folder: of the run.
        files: that are known to be its, beside those on its list.
    """
    for name in (*files, *written(folder)):
        path = folder / name
        if path.is_file() or path.is_symlink():
            path.unlink()
    for path in checkpoints(folder):
        shutil.rmtree(path)
    with suppress(OSError):
        (folder / "plots").rmdir()  # unless something of somebody's own is in there
    (folder / MARK).unlink(missing_ok=True)


def put_in_place(stage: Path, folder: Path) -> None:
    """Move a saved model into its folder, which is no model, and no finished run, before all of it is there."""
    names = sorted(path.name for path in stage.iterdir())
    mark(folder, names)
    for name in ("metrics.json", "config.json"):
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: name == "config.json"):
        os.replace(stage / name, folder / name)
    stage.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no two processes train in it at once (one may have outlived its parent).

    A folder that is made for this, and in which nothing is left, goes again.

    Raises:
        UserError: when another process holds it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with held(
            folder / LOCK, f"{folder} is being trained by another process; wait for it, or end it"
        ):
            yield
    finally:
        if made and [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
        for path in made:
            with suppress(OSError):  # it is not empty: the run has begun
                path.rmdir()


def is_over(checkpoint: str, patience: int, last_step: int) -> bool:
    """Whether the run behind a checkpoint had come to its last step, or used up its patience: resuming trains no more.

    A step more would be trained otherwise, since the Trainer looks for the end only after a step.
    """
    state = state_of(Path(checkpoint))
    stored = state.stateful_callbacks.get("EarlyStoppingCallback", {})
    waited = stored.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return state.global_step >= last_step or bool(patience) and waited >= patience
