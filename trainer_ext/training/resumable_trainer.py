"""A Trainer whose best model is the best, and which obeys its flags when it goes on from a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer import TRAINER_STATE_NAME

from trainer_ext.files import write_json
from trainer_ext.runs.checkpoints import PREFIX, best_beside, name_best, state_of
from trainer_ext.runs.resume import FLAGS_FILE, ResumedCallback, check_position


class ResumableTrainer(Trainer):
    """Everything `Trainer` does, with these differences.

    - With `load_best_model_at_end` every step with a new best metric is saved, whatever the save strategy, so that the
      best weights that were evaluated are there at the end.
    - A resumed run obeys the flags it was given; `Trainer` takes batch size, intervals and patience from the
      checkpoint. The best model so far is the one beside that checkpoint, not the one at a path kept in it.

    Args:
        flags: what is trained and how, kept in each checkpoint for the run that goes on from it.
    """

    def __init__(self, *args, flags: dict[str, Any] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.flags = flags or {}

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        """`Trainer.train`; a checkpoint must be of steps as long as those asked for now."""
        if resume_from_checkpoint:
            check_position(Path(resume_from_checkpoint), self.args, self.steps()[0])
            self.add_callback(ResumedCallback(Path(resume_from_checkpoint)))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def steps(self) -> tuple[int, int]:
        """Optimizer steps of an epoch, and of the whole training."""
        with torch.random.fork_rng():  # making a loader draws a seed
            loader = self.get_train_dataloader()
        values = self.set_initial_training_values(
            self.args, loader, self.get_total_train_batch_size(self.args)
        )
        return values[1], values[-1]

    def _inner_training_loop(
        self,
        batch_size=None,
        args=None,
        resume_from_checkpoint=None,
        trial=None,
        ignore_keys_for_eval=None,
    ):
        """With the batch size asked for; `Trainer` hands over a checkpoint's, which is what auto_find found."""
        if not self.args.auto_find_batch_size:
            batch_size = self.args.train_batch_size
        return super()._inner_training_loop(
            batch_size, args, resume_from_checkpoint, trial, ignore_keys_for_eval
        )

    def compare_trainer_and_checkpoint_args(self, training_args, trainer_state) -> None:
        """Nothing: `Trainer` warns of flags that differ from the checkpoint's; here those asked for hold."""

    def _load_callback_state(self) -> None:
        """Of early stopping the count is the checkpoint's, the patience the one asked for."""
        super()._load_callback_state()
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, EarlyStoppingCallback):
                callback.early_stopping_patience = self.args.early_stopping_patience

    def _determine_best_metric(self, metrics: dict[str, float], trial) -> bool:
        """Save each new best, also between the steps that are saved anyway."""
        better = super()._determine_best_metric(metrics, trial)
        if better:
            self.state.best_global_step = (
                self.state.global_step
            )  # left out by Trainer for save_strategy best
            self.control.should_save |= self.args.load_best_model_at_end
        return better

    def _save_checkpoint(self, model, trial) -> None:
        """`Trainer`'s, where a folder of this name counts as torn until it is written to its end."""
        folder = Path(self.args.output_dir) / f"{PREFIX}{self.state.global_step}"
        if self.args.should_save:
            (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
            if self.flags:
                write_json(folder / FLAGS_FILE, self.flags)
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(folder)
        super()._save_checkpoint(model, trial)

    def take_up(self, checkpoint: str) -> None:
        """The state of a run that had come to its end, and what it would have left, without training on."""
        path = Path(checkpoint)
        self.state = state_of(path)
        best = best_beside(path, self.state) if self.args.load_best_model_at_end else None
        name_best(self.state, best)
        self._load_from_checkpoint(str(best or path))

    @property
    def holds_best(self) -> bool:
        """Whether the model, now that training has ended, is the best one; else it is the last one."""
        return bool(self.args.load_best_model_at_end and self.state.best_model_checkpoint)

    @property
    def step_of_model(self) -> int:
        """The step whose weights the model holds, now that training has ended."""
        return self.state.best_global_step if self.holds_best else self.state.global_step
