"""What pruning by magnitude did to a model: l1_report.json, and the same as a table."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer_ext.compression.magnitude import compressed_bytes, matrices
from trainer_ext.files import scratch_folder, write_json
from trainer_ext.inference.folder import WEIGHTS
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.tables import table
from trainer_ext.training.finished import Finished
from trainer_ext.training.trainer import CustomTrainer

REPORT = "l1_report.json"
SPEED = (
    "none: matrices keep their shapes, and a product with zeros takes as long as one without; only the compressed file "
    "is smaller"
)


@dataclass(frozen=True)
class State:
    """A model, before or after.

    Attributes:
        metric: the task's default one on the validation rows; None without rows.
        bytes: of model.safetensors.
        compressed_bytes: of the same file as gzip writes it.
    """

    metric: float | None
    bytes: int
    compressed_bytes: int


@dataclass(frozen=True)
class Zeros:
    """How many weights of a kind of matrix are 0, in all layers together."""

    weights: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Return the share of zeros."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class L1Report:
    """What was pruned, and what it does.

    Attributes:
        metric_name: the task's default metric.
        before: the model that the stage was given.
        after: the model that was trained and saved.
        matrices: the zeros of each kind of matrix, named as in the encoder, and of the `whole model`.
    """

    metric_name: str
    before: State
    after: State
    matrices: dict[str, Zeros]

    def write(self, folder: Path) -> None:
        """Write l1_report.json."""
        content = {**asdict(self), "speed": SPEED}
        for kind, zeros in self.matrices.items():
            content["matrices"][kind]["sparsity"] = zeros.sparsity
        write_json(folder / REPORT, content)

    def text(self) -> str:
        """Return the table and what it means."""
        rows = [
            (kind, zeros.weights, zeros.zeros, f"{100 * zeros.sparsity:.2f}%")
            for kind, zeros in self.matrices.items()
        ]
        before, after = self.before, self.after
        lines = [table(rows, ["matrix", "weights", "zeros", "sparsity"]), ""]
        if before.metric is not None and after.metric is not None:
            lines.append(
                f"{self.metric_name} on the validation rows: {before.metric:.4f} before, {after.metric:.4f} after"
            )
        lines.append(
            f"{WEIGHTS}: {megabytes(before.bytes)} before, {megabytes(after.bytes)} after; compressed (gzip) "
            f"{megabytes(before.compressed_bytes)} before, {megabytes(after.compressed_bytes)} after"
        )
        lines.append(f"Gain in speed: {SPEED}")
        return "\n".join(lines)


def megabytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 1e6:.2f} MB"


class Unpruned:
    """A trainer whose model is about to be pruned, with what the model is before.

    Args:
        trainer: under a launcher in each process, as the rows are shared out.
    """

    def __init__(self, trainer: CustomTrainer):
        self.trainer = trainer
        metric = None
        if trainer.eval_dataset is not None:
            with torch.random.fork_rng():  # making a loader draws a seed
                metrics = trainer.predict(trainer.eval_dataset, metric_key_prefix="eval").metrics
            metric = (metrics or {})[f"eval_{trainer.task.default_metric}"]
        # Weighed as a file: only compressed do zeros save anything.
        with scratch_folder(trainer.output_dir / "unpruned") as folder:
            trainer.model.save_pretrained(folder)
            self.state = weighed(folder, metric)

    def compare(self, finished: Finished) -> L1Report:
        """Return the report of the model that was trained and saved."""
        name = finished.task.default_metric
        metric = None
        if "validation" in finished.scores:
            metric = finished.scores["validation"]["metrics"][name]
        after = weighed(finished.folder, metric)
        return L1Report(name, self.state, after, zeros_by_kind(self.trainer.model))


def weighed(folder: Path, metric: float | None) -> State:
    """Return the state of a saved model."""
    file = folder / WEIGHTS
    return State(metric, file.stat().st_size, compressed_bytes(file))


def zeros_by_kind(model: EncoderWithHead) -> dict[str, Zeros]:
    """Count zeros in each kind of matrix of the layers, and in the whole model."""
    kinds: dict[str, list[Tensor]] = {}
    for name, weight in matrices(model, ["attention", "feed_forward"]).items():
        # The same matrix of all layers is one kind.
        kind = name.partition(".")[2]
        kinds.setdefault(kind, []).append(weight)
    found = {kind: count_zeros(weights) for kind, weights in kinds.items()}
    found["whole model"] = count_zeros(model.parameters())
    return found


def count_zeros(weights: Iterable[Tensor]) -> Zeros:
    """Count all weights and those that are 0."""
    count = zeros = 0
    for weight in weights:
        count += weight.numel()
        zeros += int((weight == 0).sum())
    return Zeros(count, zeros)
