"""A progress bar with one short line per log, instead of dictionaries with a hundred keys; or no bar at all.

And how far a training is, in a file, for the process that started it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import datasets.utils
import huggingface_hub.utils
from transformers import (
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import logging

from trainer_ext.children import PROGRESS
from trainer_ext.files import json_text


@contextmanager
def library_bars(shown: bool) -> Iterator[None]:
    """Silence the bars of datasets, the hub and transformers unless `shown`, and restore their settings."""
    libraries = (datasets.utils, huggingface_hub.utils)
    were_disabled = [library.are_progress_bars_disabled() for library in libraries]
    were_enabled_in_transformers = logging.is_progress_bar_enabled()
    # The settings are of the process, which may be a notebook that goes on with its own work.
    if not shown:
        for library in libraries:
            library.disable_progress_bars()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for library, was_disabled in zip(libraries, were_disabled, strict=True):
            if not was_disabled:
                library.enable_progress_bars()
        if were_enabled_in_transformers:
            logging.enable_progress_bar()


class ShortProgress(ProgressCallback):
    """`ProgressCallback` that prints losses, learning rate and the task's main metrics only.

    Args:
        metrics: names without `eval_`, those to print of an evaluation.
    """

    def __init__(self, metrics: tuple[str, ...]):
        super().__init__()
        self.metrics = metrics

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs,
    ) -> None:
        """Write one line above the bar."""
        # The command prints the summary itself.
        is_summary = logs is not None and "train_runtime" in logs
        if not logs or is_summary or self.training_bar is None or not state.is_world_process_zero:
            return
        values = [f"{name} {logs[name]:.4g}" for name in self.chosen(logs)]
        if not values:
            return
        step = f"step {state.global_step:>6}"
        epoch = f"epoch {logs.get('epoch', 0):5.2f}"
        self.training_bar.write("  ".join([step, epoch, *values]))

    def chosen(self, logs: Mapping[str, float]) -> list[str]:
        """Return the names to print, losses first."""
        names = []
        for name in logs:
            if name.startswith("loss") or name in ("learning_rate", "grad_norm"):
                names.append(name)
        # An evaluation logs every class and target as well.
        for metric in ("loss", *self.metrics):
            if f"eval_{metric}" in logs:
                names.append(f"eval_{metric}")
        return names


class ProgressFile(TrainerCallback):
    """Adds a line of JSON to a file at the beginning, and after each evaluation: step, steps in all, metrics.

    Args:
        path: of the file; a training that goes on adds to it.
    """

    def __init__(self, path: Path):
        self.path = path

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Tell how many steps there will be."""
        self.add(state, {})

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs,
    ) -> None:
        """Tell what was measured."""
        self.add(state, metrics or {})

    def add(self, state: TrainerState, metrics: Mapping[str, float]) -> None:
        """Add a line."""
        if not state.is_world_process_zero:
            return
        line = json_text(
            {"step": state.global_step, "steps": state.max_steps, "metrics": dict(metrics)}
        )
        # In one write, so that a reader never sees half of it.
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def progress_file() -> ProgressFile | None:
    """Return the callback for the file that the process which started this one watches; None without one.

    The variable is taken out of the environment: processes that this one starts are other trainings.
    """
    path = os.environ.pop(PROGRESS, None)
    if not path:
        return None
    return ProgressFile(Path(path))
