"""A progress bar with one short line per log, instead of dictionaries with a hundred keys."""

from transformers import ProgressCallback


class ShortProgress(ProgressCallback):
    """`ProgressCallback` that prints losses, learning rate and the task's main metrics only."""

    def __init__(self, metrics: tuple[str, ...]):
        super().__init__()
        self.metrics = metrics

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Write one line above the bar."""
        if not state.is_world_process_zero or self.training_bar is None or "train_runtime" in (logs or {}):
            return
        logs = logs or {}
        shown = [name for name in logs if name.startswith("loss") or name in ("learning_rate", "grad_norm")]
        shown += [f"eval_{name}" for name in ("loss", *self.metrics) if f"eval_{name}" in logs]
        if shown:
            values = "  ".join(f"{name} {logs[name]:.4g}" for name in shown)
            self.training_bar.write(f"step {state.global_step:>6}  epoch {logs.get('epoch', 0):5.2f}  {values}")
