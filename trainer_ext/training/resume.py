"""What a checkpoint was trained with, written into it, so that a resumed run is the same training to its end."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from trainer_ext.arguments import Arguments, ModelArguments, ObjectiveArguments
from trainer_ext.errors import UserError
from trainer_ext.files import read_json, write_json
from trainer_ext.optimisation import OptimisationArguments
from trainer_ext.shaping import ShapingArguments

FILE = "training_flags.json"
NOT_TRAINED_WITH = ("calibrate", "trust_remote_code")  # of the model's flags
TRAINING = ("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_ratio", "warmup_steps")
TRAINING += ("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")
TRAINING += ("label_smoothing_factor", "neftune_noise_alpha", "group_by_length", "seed", "data_seed")


def training_flags(args: Arguments) -> dict[str, Any]:
    """The flags that say what is trained and how, as JSON has them.

    Not among them: how long (`num_train_epochs`, `max_steps`), and how a step is computed (batch size against
    accumulation, precision, devices), which a run that ran out of memory may have to change.
    """

    def names_in(group: type) -> list[str]:
        return [spec.name for spec in fields(group) if spec.name not in NOT_TRAINED_WITH]

    named = (
        (args.data, ("task", "max_length", *names_in(ShapingArguments))),
        (args.model, names_in(ModelArguments)),
        (args.objective, names_in(ObjectiveArguments)),
        (args.training, (*names_in(OptimisationArguments), *TRAINING)),
    )
    values = {name: getattr(group, name) for group, names in named for name in names}
    return {name: getattr(value, "value", value) for name, value in values.items()}


def check_flags(checkpoint: str | None, args: Arguments) -> None:
    """Refuse to go on with another training than the one that made a checkpoint.

    Raises:
        UserError: naming each flag that differs, with both values.
    """
    path = Path(checkpoint or "") / FILE
    if checkpoint and path.is_file():
        before, now = read_json(path), training_flags(args)
        changed = [
            f"{name} was {before.get(name)}, now it is {now[name]}" for name in now if before.get(name) != now[name]
        ]
        if changed:
            raise UserError(f"{checkpoint} is of another training: {'; '.join(changed)}. {instead(checkpoint)}")


def check_rows(checkpoint: str | None, train_data_sha256: str) -> None:
    """Refuse to go on with other training rows than those that made a checkpoint.

    Raises:
        UserError: when the hash in the checkpoint's config is another one.
    """
    path = Path(checkpoint or "") / "config.json"
    if checkpoint and path.is_file():
        before = read_json(path).get("pipeline", {}).get("train_data_sha256")
        if before != train_data_sha256:
            raise UserError(f"{checkpoint} was trained on other rows than these. {instead(checkpoint)}")


def instead(checkpoint: str) -> str:
    """What to do when a training cannot be resumed."""
    return (
        f"Begin anew with --overwrite_output_dir true, or start another training from it: --model_name_or_path "
        f"{checkpoint} with another output_dir"
    )


class FlagsCallback(TrainerCallback):
    """Writes the training's flags into each checkpoint."""

    def __init__(self, flags: dict[str, Any]):
        self.flags = flags

    def on_save(self, args, state, control, **kwargs):
        """Beside the checkpoint that has just been written."""
        if state.is_world_process_zero:
            write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE, self.flags)
