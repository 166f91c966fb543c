"""The output folder: refused with another run in it, cleared on request, resumed, and filled at the end.

A run leaves a mark in its folder, which lists every file it writes there. Only a folder with this mark is cleared, and
only of what is on the list; everything else belongs to somebody else and stays. Folders of versions that left no mark
are recognised by their content.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from trainer_ext.arguments.recipe import RESOLVED_HEADER
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError
from trainer_ext.files import check_folder, write_json
from trainer_ext.locks import LOCK, held
from trainer_ext.runs.checkpoints import checkpoints, damage, is_complete, state_of

MARK = ".trainer_ext.json"
PLOTS = (
    "learning_curves",
    "confusion_matrix",
    "f1_by_aspect",
    "f1_by_class",
    "predictions",
    "reliability",
    "length",
    "reject",
)
TABLES = (
    "learning_curves",
    "baselines",
    "scores",
    "confusions",
    "reliability",
    "length",
    "hardest",
)
REPORT = ("report.html", "suspects.csv", *(f"report/{name}.csv" for name in TABLES))
"""What a run writes for people to look at, besides plots."""
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
# What a run writes at the top of its folder, in the order of removal: without the first two the folder is neither a
# finished run nor a model.
FILES = (
    "metrics.json",
    "config.json",
    "model.safetensors",
    "resolved_config.yaml",
    "latency_table.json",
    "l1_report.json",
    "README.md",
    "validation_outputs.npz",
    "vocabulary_report.json",
    "reject.json",
    *REPORT,
    *TOKENIZER,
    *(f"plots/{name}.png" for name in PLOTS),
)

logger = logging.getLogger(__name__)


def take_output_dir(args: TrainingArguments) -> str | None:
    """Make sure the folder is free for this run, and find the checkpoint to resume from.

    Returns:
        The newest checkpoint that training can resume from with `resume_from_checkpoint true` (None before there is
        one: the run then starts at the beginning), the one that the flag names, or None without the flag.

    Raises:
        UserError: when the folder holds another run and neither overwriting nor resuming was asked for, when it holds
            what is not of a run, or cannot be written.
    """
    folder = Path(args.output_dir or "")
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
    if not is_complete(named):
        raise UserError(
            f"resume_from_checkpoint {resume} is not a whole checkpoint (no readable trainer_state.json)"
        )
    # A checkpoint in this very folder is of the run that goes on.
    if named.resolve().parent != folder.resolve():
        check_free(folder, args.overwrite_output_dir)
    check_undamaged(named, args)
    return str(named)


def check_free(folder: Path, overwrite: bool) -> None:
    """Clear the folder of an earlier run with `overwrite`; refuse it without.

    Raises:
        UserError: when it holds another run, or files of somebody's own that a run would replace.
    """
    check_not_foreign(folder)
    if not holds_run(folder):
        return
    if not overwrite:
        raise UserError(
            f"output_dir {folder} already holds another run: give --overwrite_output_dir true to replace it, "
            "--resume_from_checkpoint true to resume it, or another folder"
        )
    check_may_be_cleared(folder)
    clear(folder)


def check_not_foreign(folder: Path, files: Iterable[str] = FILES) -> None:
    """Refuse a folder where this run would replace what no run of this project has written.

    Raises:
        UserError: naming what is there.
    """
    known = written(folder)
    there = [name for name in files if name not in known and (folder / name).exists()]
    if not is_ours(folder):
        there += [path.name for path in checkpoints(folder)]
    if there:
        more = ", ..." if len(there) > 3 else ""
        raise UserError(
            f"output_dir {folder} holds {', '.join(there[:3])}{more}, which no run of this project has written: a run "
            "would replace it. Give another folder"
        )


def check_may_be_cleared(folder: Path) -> None:
    """Refuse to clear what is more than an output folder.

    Raises:
        UserError: for the working directory, the home directory and what contains them, and for a git checkout.
    """
    place = folder.resolve()
    kept = {"the working directory": Path.cwd(), "the home directory": Path.home()}
    for what, path in kept.items():
        if path.resolve().is_relative_to(place):
            raise UserError(
                f"output_dir {folder} is {what}, or holds it, and is never cleared: give another folder"
            )
    if (place / ".git").exists():
        raise UserError(
            f"output_dir {folder} is a git checkout and is never cleared: give another folder"
        )


def newest_checkpoint(folder: Path, args: TrainingArguments) -> str | None:
    """Return the newest checkpoint of a run to resume from; None before there is one. Damaged later ones are removed.

    Raises:
        UserError: when there are only damaged ones, or the run is finished and left none.
    """
    useless: dict[Path, str] = {}
    for checkpoint in reversed(checkpoints(folder)):
        problem = "it was cut off while it was written"
        if is_complete(checkpoint):
            found = damage(checkpoint, args)
            # Without an optimizer none of them has one (save_only_model): that is refused below, not skipped.
            if found is None or args.save_only_model or not has_optimizer(checkpoint, args):
                check_undamaged(checkpoint, args)
                remove_later(useless, checkpoint)
                return str(checkpoint)
            problem = found
        useless[checkpoint] = problem
    check_none_complete(useless, args)
    if (folder / "metrics.json").is_file():
        raise UserError(
            f"output_dir {folder} holds a finished run and no checkpoint to go on from: give --overwrite_output_dir "
            f"true to train it anew, or --model_name_or_path {folder} with another output_dir to train on from it"
        )
    for path in useless:
        shutil.rmtree(path)
    return None


def remove_later(useless: Mapping[Path, str], checkpoint: Path) -> None:
    """Remove checkpoints that training cannot resume from, with a note why; `checkpoint` is the one it resumes from."""
    for path, problem in useless.items():
        logger.info("%s is left out: %s; going on from %s", path, problem, checkpoint)
        shutil.rmtree(path)


def check_none_complete(useless: Mapping[Path, str], args: TrainingArguments) -> None:
    """Raise `UserError` for a damaged checkpoint that was complete: hours of training may be saved by hand."""
    for path in useless:
        if is_complete(path):
            raise UserError(
                f"{path} is damaged ({damage(path, args)}), and there is none before it to go on from: remove it "
                "to begin at the start"
            )


def has_optimizer(checkpoint: Path, args: TrainingArguments) -> bool:
    """Return whether a checkpoint was saved with its optimizer."""
    # DeepSpeed and FSDP keep it in files of their own.
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
    problem = damage(checkpoint, args)
    if problem:
        raise UserError(
            f"{checkpoint} is damaged: {problem}. Give an earlier checkpoint, or start over"
        )


def is_ours(folder: Path) -> bool:
    """Return whether a run of this project has written here."""
    if (folder / MARK).is_file():
        return True
    # From here on: folders of versions that left no mark.
    if any(map(is_our_model, checkpoints(folder))):
        return True
    lists = [folder / "folds.json", folder / "seeds.json"]
    if not (is_our_model(folder) or any(path.is_file() for path in lists)):
        return False
    # An export has the checkpoint's config, too; it was not trained here.
    if any(folder.glob("*.onnx")) or any(folder.glob("onnx/*.onnx")):
        return False
    return starts_with(folder / "resolved_config.yaml", RESOLVED_HEADER)


def is_our_model(folder: Path) -> bool:
    """Return whether the config in a folder is that of a model of this project."""
    try:
        return "pipeline" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def starts_with(path: Path, beginning: str) -> bool:
    """Return whether a text file begins like this."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(len(beginning)) == beginning
    except (OSError, ValueError):
        return False


def holds_run(folder: Path) -> bool:
    """Return whether there is anything of a run in a folder."""
    if checkpoints(folder):
        return True
    return any((folder / name).exists() for name in written(folder))


def written(folder: Path) -> list[str]:
    """Return the names of the files that a run wrote; none in a folder without a run.

    Raises:
        UserError: when the list cannot be read, or names what is not inside the folder.
    """
    try:
        names = json.loads((folder / MARK).read_text(encoding="utf-8"))["files"]
        if not isinstance(names, list):
            raise ValueError("its files are not a list")
        # Whoever made the list may not reach elsewhere: what is named may be removed.
        for name in names:
            if not is_inside(folder, name):
                raise ValueError(f"{name!r} is not a file inside the folder")
        # Folds of version 0.1 wrote it without listing it.
        return list(dict.fromkeys([*names, "validation_outputs.npz"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{folder / MARK}, which lists what a run has written there, cannot be read: {error}. Give another folder"
        ) from error
    if not is_ours(folder):
        return []
    # A README.md that is not a model card is somebody's own.
    has_card = starts_with(folder / "README.md", "---\nlibrary_name: trainer-ext\n")
    return [name for name in FILES if name != "README.md" or has_card]


def is_inside(folder: Path, name: Any) -> bool:
    """Return whether a name on a list is that of a file in the folder."""
    if not isinstance(name, str) or "\0" in name or "\\" in name or not PurePosixPath(name).name:
        return False
    path = PurePosixPath(name)
    climbs = path.is_absolute() or ".." in path.parts
    return not climbs and (folder / path).parent.resolve().is_relative_to(folder.resolve())


def mark(folder: Path, files: Iterable[str] = FILES) -> None:
    """Mark a folder as that of a run, which will write these files; call it before they are written."""
    # A dictionary keeps the order, which is that of removal.
    names = list(dict.fromkeys([*written(folder), *files]))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARK, {"what": "files of a trainer-ext run", "files": names})


def clear(folder: Path, files: Iterable[str] = ()) -> None:
    """Remove what an earlier run left, and only that: first what makes it a finished run and a model.

    Args:
        folder: of the run.
        files: that are known to be the run's, besides those on its list.
    """
    for name in (*files, *written(folder)):
        path = folder / name
        if path.is_file() or path.is_symlink():
            path.unlink()
    for path in checkpoints(folder):
        shutil.rmtree(path)
    for name in ("plots", "report", ".eval_results"):
        # It stays if it holds a file of somebody else.
        with suppress(OSError):
            (folder / name).rmdir()
    (folder / MARK).unlink(missing_ok=True)


def install_model(stage: Path, folder: Path) -> None:
    """Move a saved model from `stage` into its folder, which is not a model before all of it is there."""
    names = sorted(path.name for path in stage.iterdir())
    mark(folder, names)
    # First, the folder stops being a finished run and a model; config.json, which makes it one, comes last.
    for name in ("metrics.json", "config.json"):
        (folder / name).unlink(missing_ok=True)
    names.sort(key=lambda name: name == "config.json")
    for name in names:
        os.replace(stage / name, folder / name)
    stage.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no two processes train in it at once (one may have outlived its parent).

    A folder that is made for this, and stays empty, is removed again.

    Raises:
        UserError: when another process holds it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    busy = f"{folder} is being trained by another process; wait for it, or end it"
    try:
        with held(folder / LOCK, busy):
            yield
    finally:
        if made and [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
        for path in made:
            # It fails if the folder is not empty: then the run has begun.
            with suppress(OSError):
                path.rmdir()


def is_over(checkpoint: str, patience: int, last_step: int) -> bool:
    """Return whether the run of a checkpoint was at its last step, or had used up its patience.

    Resumed, it would train one step more: the Trainer looks for the end only after a step.
    """
    state = state_of(Path(checkpoint))
    if state.global_step >= last_step:
        return True
    callbacks: Any = state.stateful_callbacks or {}
    stored = callbacks.get("EarlyStoppingCallback", {}).get("attributes", {})
    waited = stored.get("early_stopping_patience_counter", 0)
    return bool(patience) and waited >= patience
