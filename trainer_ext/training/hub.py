"""`--push_to_hub`: what a run uploads, and when, as the Trainer does it; and nothing that is not meant for others.

The Trainer would upload the whole output folder, whose recipe and logs name places on this machine, with a pickle of
all arguments (the token among them) and a card of its own in place of ours.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from huggingface_hub import HfApi
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from trainer_ext.arguments.parser import resolved, yaml_of
from trainer_ext.arguments.recipe import RESOLVED_HEADER
from trainer_ext.errors import RunError, describe_error
from trainer_ext.files import read_json, write_json, write_text
from trainer_ext.redaction import public
from trainer_ext.reports.cards import ModelFacts, model_card
from trainer_ext.runs.output_dir import TOKENIZER

MODEL = ("config.json", "model.safetensors", *TOKENIZER)
BESIDE = ("metrics.json", "plots/*.png", ".eval_results/*.yaml")
# Where a library notes the folder that it read something from.
NOTED_PLACES = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file")
WITH_PLACES = ("config.json", "tokenizer_config.json")


def push_run(trainer: Any, facts: ModelFacts) -> None:
    """Upload a finished run: model, card, metrics, pictures and recipe.

    Raises:
        RunError: when the Hub does not take it.
    """
    # What is on its way of a checkpoint would be committed later, over the model.
    trainer._finish_current_push()
    stage = stage_model(facts.folder)
    for pattern in BESIDE:
        for path in facts.folder.glob(pattern):
            copy(path, stage / path.relative_to(facts.folder))
    name = trainer.hub_model_id.split("/")[-1]
    write_text(stage / "README.md", model_card(facts, name, is_public=True))
    recipe = yaml_of(public(resolved(facts.args)))
    write_text(stage / "resolved_config.yaml", RESOLVED_HEADER + recipe)
    try:
        upload(trainer, stage, "End of training")
    except OSError as error:
        raise RunError(
            f"push_to_hub: {describe_error(error)}; the model is complete in {facts.folder}. The same command with "
            "--resume_from_checkpoint true uploads it again"
        ) from error


def push_checkpoint(trainer: Any, checkpoint: Path) -> None:
    """Upload the model of a checkpoint while training goes on, as `hub_strategy` says."""
    args = trainer.args
    if not trainer.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
        return
    before = trainer.push_in_progress
    is_busy = before is not None and not before.is_done()
    if is_busy and not args.hub_always_push:
        return
    message = f"Training in progress, step {trainer.state.global_step}"
    # The checkpoint may be deleted before all of it is sent: its files are copied now.
    jobs = [in_background(trainer, stage_model(checkpoint), message)]
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        is_last = args.hub_strategy == HubStrategy.CHECKPOINT
        target = "last-checkpoint" if is_last else checkpoint.name
        stage = stage_checkpoint(checkpoint)
        jobs.append(in_background(trainer, stage, f"{message}, checkpoint", target))
    if is_busy:
        before.jobs.extend(jobs)
    else:
        # Its hint is of one future; it takes a list.
        trainer.push_in_progress = PushInProgress(jobs)  # type: ignore[arg-type]


def in_background(trainer: Any, stage: Path, message: str, target: str | None = None) -> Any:
    """Upload a folder in a thread; return its future."""
    return HfApi().run_as_future(upload, trainer, stage, message, target)


def upload(trainer: Any, stage: Path, message: str, target: str | None = None) -> None:
    """Upload a staged folder in one commit, and remove it.

    Args:
        trainer: knows the repository, the token and the revision.
        stage: the folder.
        message: of the commit.
        target: folder in the repository; None: its top.
    """
    try:
        HfApi().upload_folder(
            repo_id=trainer.hub_model_id,
            folder_path=stage,
            path_in_repo=target,
            commit_message=message,
            token=trainer.args.hub_token,
            revision=trainer.args.hub_revision,
        )
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def stage_model(folder: Path) -> Path:
    """Copy what makes a folder a model into a new one, without the places that its files note."""
    stage = Path(mkdtemp(prefix="trainer-ext-push-"))
    for name in MODEL:
        if (folder / name).is_file():
            copy(folder / name, stage / name)
    for name in WITH_PLACES:
        if (stage / name).is_file():
            write_json(stage / name, without_places(read_json(stage / name)))
    return stage


def stage_checkpoint(checkpoint: Path) -> Path:
    """Copy a whole checkpoint; what it says of the run's folder and flags becomes public."""
    stage = stage_model(checkpoint)
    for path in checkpoint.iterdir():
        if path.is_file() and not (stage / path.name).exists():
            copy(path, stage / path.name)
    # The best checkpoint is looked for beside the run, never by this path.
    for name in ("trainer_state.json", "training_flags.json"):
        if (stage / name).is_file():
            write_json(stage / name, public(read_json(stage / name)))
    return stage


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config in which names of folders on this machine are left out; names on the Hub stay."""
    kept: dict[str, Any] = {}
    for name, value in config.items():
        if name in NOTED_PLACES and isinstance(value, str) and public({name: value})[name] != value:
            continue
        kept[name] = without_places(value) if isinstance(value, Mapping) else value
    return kept


def copy(source: Path, target: Path) -> None:
    """Copy one file, into a folder that is made for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
