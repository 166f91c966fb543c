"""What a checkpoint was trained with is written into it, so that a resumed run is the same training to its end."""

import logging
import math
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.arguments.optimisation import OptimisationArguments
from trainer_ext.arguments.preprocessing import PreprocessingArguments
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.runs.checkpoints import best_beside, name_best, state_of

FLAGS_FILE = "training_flags.json"
NOT_TRAINED_WITH = ("calibrate", "trust_remote_code")  # of the model's flags
TRAINING = (
    "learning_rate",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_ratio",
    "warmup_steps",
    "optim",
    "optim_args",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "label_smoothing_factor",
    "neftune_noise_alpha",
    "group_by_length",
    "seed",
    "data_seed",
)

logger = logging.getLogger(__name__)


def training_flags(args: Arguments) -> dict[str, Any]:
    """Return the flags that decide what is trained and how, as JSON has them.

    Not among them: how long (`num_train_epochs`, `max_steps`), how often it is evaluated, and how a step is computed
    (batch size against accumulation, precision, devices), which a run that ran out of memory may have to change.
    """
    values = flags_of(args.data, ("task", "max_length", *names_in(PreprocessingArguments)))
    values |= flags_of(args.model, names_in(ModelArguments))
    values |= flags_of(args.objective, names_in(ObjectiveArguments))
    values |= flags_of(args.training, (*names_in(OptimisationArguments), *TRAINING))
    return values


def names_in(group: type) -> list[str]:
    """Return the flags of a group that change what is trained."""
    names = [spec.name for spec in fields(group)]
    return [name for name in names if name not in NOT_TRAINED_WITH]


def flags_of(group: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return values of a group by name; enums as the words that stand for them."""
    values = {}
    for name in names:
        value = getattr(group, name)
        values[name] = getattr(value, "value", value)
    return values


def kept_flags(args: Arguments) -> dict[str, Any]:
    """Return what a checkpoint keeps: the flags of `training_flags`, its batches, and what its best model is."""
    kept = training_flags(args)
    kept["batches"] = batches_of(args.training)
    kept["best_by"] = best_by(args.training)
    return kept


def batches_of(training: TrainingArguments) -> list[int]:
    """Return the factors of the rows of a step: batch size, accumulation, processes."""
    return [training.train_batch_size, training.gradient_accumulation_steps, training.world_size]


def best_by(training: TrainingArguments) -> list:
    """Return what makes one step better than another: the metric, and whether more of it is better."""
    metric = (training.metric_for_best_model or "").removeprefix("eval_")
    return [metric, bool(training.greater_is_better)]


def check_flags(checkpoint: str | None, args: Arguments) -> None:
    """Refuse to resume with another training than the one that made a checkpoint.

    Raises:
        UserError: naming each flag that differs, with both values.
    """
    if not checkpoint:
        return
    path = Path(checkpoint) / FLAGS_FILE
    before = read_json(path) if path.is_file() else {}
    if before:
        changed = changed_flags(before, training_flags(args))
        if changed:
            raise UserError(
                f"{checkpoint} is of another training: {'; '.join(changed)}. {instead(checkpoint)}"
            )
        check_batches(checkpoint, before.get("batches"), args.training)
    check_best(checkpoint, before.get("best_by"), args.training)


def changed_flags(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the flags that differ, in words."""
    defaults = default_flags()
    changed = []
    for name, value in now.items():
        # An older version did not know a flag that is missing: it trained as the default does now.
        earlier = before.get(name, defaults.get(name))
        if earlier != value:
            changed.append(f"{name} was {earlier}, now it is {value}")
    return changed


def default_flags() -> dict[str, Any]:
    """Return the flags' values if none is given."""
    defaults = {}
    for group in (DataArguments, ModelArguments, ObjectiveArguments, TrainingArguments):
        for spec in fields(group):
            if spec.default is not MISSING:
                defaults[spec.name] = spec.default
    return defaults


def check_batches(checkpoint: str, before: list[int] | None, training: TrainingArguments) -> None:
    """Refuse steps of another number of rows: schedule and place in the data are counted in steps.

    Raises:
        UserError: naming both ways to make a step, and one that fits.
    """
    now = batches_of(training)
    # auto_find_batch_size changes the batches by itself, and the Trainer finds its place again.
    if not before or training.auto_find_batch_size or math.prod(before) == math.prod(now):
        return
    size, _, processes = now
    accumulation, rest = divmod(math.prod(before), size * processes)
    fitting = ""
    if not rest:
        fitting = f" (with --gradient_accumulation_steps {accumulation} they are as long as before)"
    raise UserError(
        f"{checkpoint} was trained in steps of {rows_of_step(before)}, now they are of {rows_of_step(now)}, and its "
        f"schedule and place in the rows are counted in steps{fitting}. {instead(checkpoint)}"
    )


def rows_of_step(batches: list[int]) -> str:
    """Return `16 rows (per_device_train_batch_size 4 x gradient_accumulation_steps 4)`."""
    size, accumulation, processes = batches
    several = f" x {processes} processes" if processes > 1 else ""
    made = (
        f"per_device_train_batch_size {size} x gradient_accumulation_steps {accumulation}{several}"
    )
    return f"{math.prod(batches)} rows ({made})"


def check_position(checkpoint: Path, training: TrainingArguments, steps_in_epoch: int) -> None:
    """Refuse a checkpoint whose step is at another place in the rows when an epoch has so many steps.

    It is what is left to see of other batches where a checkpoint does not keep them, or where a remainder is dropped.

    Raises:
        UserError: naming both places.
    """
    state = state_of(checkpoint)
    if state.epoch and abs(state.epoch * steps_in_epoch - state.global_step) >= 1:
        raise UserError(
            f"{checkpoint} is at step {state.global_step} and epoch {state.epoch:g}, but with per_device_train_batch_"
            f"size {training.per_device_train_batch_size} and gradient_accumulation_steps "
            f"{training.gradient_accumulation_steps} an epoch has {steps_in_epoch} steps: give those it was trained "
            f"with, or others with the same product. {instead(str(checkpoint))}"
        )


def check_best(checkpoint: str, before: list | None, training: TrainingArguments) -> None:
    """Refuse to compare with the best model so far what cannot be compared; it must be beside the checkpoint.

    Raises:
        UserError: when it was chosen by another metric, or is not there.
    """
    if not training.load_best_model_at_end:
        return
    state, now = state_of(Path(checkpoint)), best_by(training)
    if state.best_metric is None:
        logger.info(
            "%s names no best model: it is looked for from the next evaluation on", checkpoint
        )
        return
    # Checkpoints that do not keep the metric's name still have its values in their log.
    if before is None and not is_in_history(state, now[0]):
        before = ["another metric", now[1]]
    if before and before != now:
        raise UserError(
            f"the best model of {checkpoint} was chosen by metric_for_best_model {before[0]} (greater_is_better "
            f"{before[1]}), now it is {now[0]} (greater_is_better {now[1]}). {instead(checkpoint)}"
        )
    best_beside(Path(checkpoint), state)


def is_in_history(state: TrainerState, metric: str) -> bool:
    """Return whether the best metric so far is a value that this metric has had."""
    return any(entry.get(f"eval_{metric}") == state.best_metric for entry in state.log_history)


def check_rows(
    checkpoint: str | None,
    train_sha256: str,
    validation_sha256: str | None,
    best: bool,
) -> None:
    """Refuse to go on with other training rows than those that made a checkpoint, or to judge it by other rows.

    Args:
        checkpoint: to go on from, if any.
        train_sha256: hash of the training rows.
        validation_sha256: of the validation rows; None without any.
        best: whether the best model is looked for, so that evaluations before and after are compared.

    Raises:
        UserError: when a hash in the checkpoint's config is another one.
    """
    if not checkpoint:
        return
    path = Path(checkpoint) / "config.json"
    config = read_json(path) if path.is_file() else {}
    pipeline = config.get("pipeline") if isinstance(config, dict) else None
    if not isinstance(pipeline, dict) or "train_data_sha256" not in pipeline:
        raise UserError(
            f"{checkpoint} is not a checkpoint of this project: its config.json does not say on which rows it was "
            f"trained. To begin with its encoder, give --model_name_or_path {checkpoint} with another output_dir"
        )
    if pipeline["train_data_sha256"] != train_sha256:
        raise UserError(f"{checkpoint} was trained on other rows than these. {instead(checkpoint)}")
    # Older checkpoints do not record their validation rows: those of now are taken for the same.
    before = pipeline.get("validation_data_sha256", validation_sha256)
    if best and before != validation_sha256 and state_of(Path(checkpoint)).best_metric is not None:
        raise UserError(
            f"the best model of {checkpoint} was chosen on other validation rows than these. {instead(checkpoint)}"
        )


def instead(checkpoint: str) -> str:
    """Return what to do when a training cannot be resumed."""
    return (
        f"Begin anew with --overwrite_output_dir true, or start another training from it: --model_name_or_path "
        f"{checkpoint} with another output_dir"
    )


class ResumedCallback(TrainerCallback):
    """Let the flags of now win over those in the state of the checkpoint that is resumed.

    Args:
        checkpoint: its folder, beside which the best model so far lies.
    """

    def __init__(self, checkpoint: Path):
        self.checkpoint = checkpoint

    def on_train_begin(self, args, state, control, **kwargs):
        """Correct the state, which has been loaded and knows its new end."""
        state.train_batch_size = args.train_batch_size
        state.compute_steps(args, state.max_steps)
        best = None
        if args.load_best_model_at_end:
            # By its place beside the checkpoint: the path in the state may be that of another run by now.
            best = best_beside(self.checkpoint, state)
        name_best(state, best)
