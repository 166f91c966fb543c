"""Several models behind the interface of one: folds, seeds, or any models with the same labels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.inference.combine import combine, ensemble_task
from trainer_ext.inference.folder import warn_once
from trainer_ext.inference.predictor import Predictor
from trainer_ext.inference.single import SinglePredictor

# How many rows each model answers before it makes room for the next, if they do not fit into memory together.
ROWS_AT_A_TIME = 4096
NO_REJECTION = (
    "several models together reject no text: the thresholds of --reject were fitted to each alone"
)


class EnsemblePredictor(Predictor):
    """Answer with several models.

    Args:
        names: of the models, for messages.
        loaders: one function a model, which loads it.
        how: mean, logits, vote or weighted.
        weights: one a model, for weighted.
        together: whether all models stay in memory. If not, each window of rows loads them one after another.

    Raises:
        UserError: if tasks or labels differ, or the task has nothing to vote on.
    """

    def __init__(
        self,
        names: Sequence[str],
        loaders: Sequence[Callable[[], SinglePredictor]],
        how: str,
        weights: Sequence[float] | None,
        together: bool = True,
    ):
        self.how = how
        self.weights = weights
        self.members: list[SinglePredictor] = []
        self._loaders = loaders
        self._descriptions: list[str] = []
        # Every model is loaded once here, also those that are dropped again: a broken one is found before any row is
        # read.
        tasks = []
        files: list[Path] = []
        for load in loaders:
            member = load()
            tasks.append(member.task)
            files += member.files
            if member.description not in self._descriptions:
                self._descriptions.append(member.description)
            if together:
                self.members.append(member)
        self.files = files
        self.tasks = tasks
        self.task = ensemble_task(names, tasks, how)
        self.pipeline = member.pipeline
        if any(task.rejection is not None for task in tasks):
            # Whoever trained with --reject would otherwise look for `rejected` in vain.
            warn_once(NO_REJECTION)
        self._batch_size = member.batch_size
        if how == "vote" and not self.task.has_classes:
            raise UserError(
                f"ensemble vote is for classes, but the models are for {self.task.name}; use mean"
            )

    @property
    def description(self) -> str:
        """Return the members' files and providers, each once."""
        return ", ".join(self._descriptions)

    @property
    def batch_size(self) -> int:
        """Return how many rows each model takes in one run."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, rows: int) -> None:
        self._batch_size = rows
        for member in self.members:
            member.batch_size = rows

    @property
    def window_size(self) -> int:
        """Return more rows if models have to be loaded for each window, which takes longer than answering a few."""
        return super().window_size if self.members else ROWS_AT_A_TIME

    @property
    def singles(self) -> Sequence[SinglePredictor]:
        """Return the members that are in memory: all, or none."""
        return self.members

    def outputs(self, items: Sequence[Any]) -> list[Any]:
        """Return the ensemble's output for each prepared item, in order."""
        return self.join(self._member_outputs(items))

    def join(self, by_single: Sequence[Sequence[Any]]) -> list[Any]:
        """Return one output a row from those of each member."""
        combined = []
        for row in zip(*by_single, strict=True):
            combined.append(combine(self.tasks, row, self.how, self.weights))
        return combined

    def _member_outputs(self, items: Sequence[Any]) -> list[list[Any]]:
        if self.members:
            return [member.outputs(items) for member in self.members]
        outputs = []
        for load in self._loaders:
            # Nothing refers to the model after this line, so it is freed before the next one is loaded.
            outputs.append(load().outputs(items))
        return outputs
