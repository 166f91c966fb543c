"""A progress bar with one short line per log, instead of dictionaries with a hundred keys; or no bar at all."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets.utils
import huggingface_hub.utils
from transformers import ProgressCallback
from transformers.utils import logging


@contextmanager
def library_bars(shown: bool) -> Iterator[None]:
    """Silence the bars of datasets, the hub and transformers unless `shown`, and leave them as they were."""
    libraries = (datasets.utils, huggingface_hub.utils)
    silent = [library.are_progress_bars_disabled() for library in libraries]
    of_transformers = logging.is_progress_bar_enabled()
    if not shown:
        for library in libraries:
            library.disable_progress_bars()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for library, was_silent in zip(libraries, silent, strict=True):
            if not was_silent:
                library.enable_progress_bars()
        if of_transformers:
            logging.enable_progress_bar()


class ShortProgress(ProgressCallback):
    """`ProgressCallback` that prints losses, learning rate and the task's main metrics only."""

    def __init__(self, metrics: tuple[str, ...]):
        super().__init__()
        self.metrics = metrics

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Write one line above the bar."""
        if (
            not state.is_world_process_zero
            or self.training_bar is None
            or "train_runtime" in (logs or {})
        ):
            return
        logs = logs or {}
        shown = [
            name
            for name in logs
            if name.startswith("loss") or name in ("learning_rate", "grad_norm")
        ]
        shown += [f"eval_{name}" for name in ("loss", *self.metrics) if f"eval_{name}" in logs]
        if shown:
            values = "  ".join(f"{name} {logs[name]:.4g}" for name in shown)
            self.training_bar.write(
                f"step {state.global_step:>6}  epoch {logs.get('epoch', 0):5.2f}  {values}"
            )
