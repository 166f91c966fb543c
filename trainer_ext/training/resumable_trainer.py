"""A Trainer whose best model is the best, and which obeys its flags when it resumes from a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, Trainer
from transformers import TrainingArguments as HuggingFaceArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput

from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.compatibility import step_counts
from trainer_ext.files import write_json
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.runs.checkpoints import PREFIX, best_beside, name_best, state_of
from trainer_ext.runs.resume import FLAGS_FILE, ResumedCallback, check_position


class ResumableTrainer(Trainer):
    """Everything `Trainer` does, with these differences.

    - With `load_best_model_at_end` every step with a new best metric is saved, whatever the save strategy, so that the
      best weights that were evaluated are there at the end.
    - A resumed run obeys the flags it was given; `Trainer` takes batch size, intervals and patience from the
      checkpoint. The best model so far is the one beside that checkpoint, not the one at a path kept in it.

    Args:
        flags: what is trained and how, kept in each checkpoint for the run that resumes from it.
    """

    args: TrainingArguments
    model: EncoderWithHead
    processing_class: PreTrainedTokenizerBase
    train_dataset: Dataset

    def __init__(self, *args, flags: dict[str, Any] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.flags = flags or {}

    @property
    def output_dir(self) -> Path:
        """The folder of the run."""
        assert self.args.output_dir is not None, "TrainingArguments fills it in"
        return Path(self.args.output_dir)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        *args,
        **kwargs,
    ) -> TrainOutput:
        """`Trainer.train`, resuming only from a checkpoint whose optimizer steps are as long as those asked for now.

        Raises:
            UserError: if they are not.
        """
        if resume_from_checkpoint:
            checkpoint = Path(str(resume_from_checkpoint))
            # A checkpoint counts its place in the epoch in steps, which mislead if steps have another size now.
            check_position(checkpoint, self.args, self.steps()[0])
            self.add_callback(ResumedCallback(checkpoint))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def steps(self) -> tuple[int, int]:
        """Return the optimizer steps of an epoch, and of the whole training."""
        with torch.random.fork_rng():  # making a loader draws a seed
            loader = self.get_train_dataloader()
        return step_counts(self, loader)

    def _inner_training_loop(
        self,
        batch_size: int | None = None,
        args: HuggingFaceArguments | None = None,
        resume_from_checkpoint: str | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train with the batch size asked for; `Trainer` hands over the checkpoint's, for auto_find_batch_size."""
        if not self.args.auto_find_batch_size:
            batch_size = self.args.train_batch_size
        return super()._inner_training_loop(
            batch_size, args, resume_from_checkpoint, trial, ignore_keys_for_eval
        )

    def compare_trainer_and_checkpoint_args(self, training_args, trainer_state) -> None:
        """Do nothing: `Trainer` warns of flags that differ from the checkpoint's, but here those asked for hold."""

    def _load_callback_state(self) -> None:
        """Restore the count of early stopping from the checkpoint, but keep the patience asked for.

        What counts only since the run was resumed is entered into the state, where `Trainer` looks for it as it saves.
        """
        super()._load_callback_state()
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, EarlyStoppingCallback):
                callback.early_stopping_patience = self.args.early_stopping_patience
        known: Any = self.state.stateful_callbacks
        for counted in (*self.callback_handler.callbacks, self.control):
            if isinstance(counted, ExportableState):
                known.setdefault(type(counted).__name__, counted.state())

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Save each new best, also between the steps that are saved anyway."""
        is_new_best = super()._determine_best_metric(metrics, trial)
        if is_new_best:
            # Trainer sets it only for save strategies other than `best`.
            self.state.best_global_step = self.state.global_step
            if self.args.load_best_model_at_end:
                self.control.should_save = True
        return is_new_best

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint whose folder counts as incomplete until its last file, the state, is written."""
        folder = self.output_dir / f"{PREFIX}{self.state.global_step}"
        if self.args.should_save:
            # Of an earlier run in the same folder; with it a half-written checkpoint would pass for a complete one.
            (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
            if self.flags:
                write_json(folder / FLAGS_FILE, self.flags)
        # Trainer does not name it with save strategy `best`.
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(folder)
        super()._save_checkpoint(model, trial)

    def load_finished(self, checkpoint: str) -> None:
        """Load the state and the model that a run which had already ended would have left, without training on."""
        path = Path(checkpoint)
        self.state = state_of(path)
        best = best_beside(path, self.state) if self.args.load_best_model_at_end else None
        name_best(self.state, best)
        self._load_from_checkpoint(str(best or path))

    @property
    def holds_best(self) -> bool:
        """Whether, after training, the model is the best one; else it is the last one."""
        return bool(self.args.load_best_model_at_end and self.state.best_model_checkpoint)

    @property
    def step_of_model(self) -> int:
        """The step whose weights the model holds after training."""
        best = self.state.best_global_step
        return best if self.holds_best and best is not None else self.state.global_step
