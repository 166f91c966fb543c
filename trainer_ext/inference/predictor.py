"""The interface of everything that answers: one model (`single.py`) or several (`ensemble.py`)."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.inference.texts import prepare_texts
from trainer_ext.tasks import Task

if TYPE_CHECKING:
    from trainer_ext.inference.single import SinglePredictor

Answer = dict[str, Any]

# Batches tokenised together, so that rows of similar length share a batch.
WINDOW = 16


class Predictor(ABC):
    """Answer for texts: `predict` for a list, `predict_iter` for a stream of any length.

    Attributes:
        task: turns logits into answers.
        pipeline: how the model was trained to read texts.
        batch_size: rows in one run of a model.
        files: that decide on the answers: config, tokenizer and what is run, of each model.
        weights: how much each of several models counts; None: alike.
    """

    task: Task
    pipeline: Pipeline
    batch_size: int
    files: Sequence[Path] = ()
    weights: Sequence[float] | None = None

    @property
    @abstractmethod
    def description(self) -> str:
        """Return what runs where, for messages: `model.onnx on cpu`."""

    @property
    @abstractmethod
    def singles(self) -> "Sequence[SinglePredictor]":
        """Return the models in memory, whose outputs `join` takes; none if each window of rows loads them anew."""

    @abstractmethod
    def join(self, by_single: Sequence[Sequence[Any]]) -> list[Any]:
        """Return one output a row from the outputs that each of `singles` has for these rows."""

    @abstractmethod
    def outputs(self, items: Sequence[Any]) -> list[Any]:
        """Return the task's output (for one head: logits of head_shape) for each prepared item, in order."""

    @property
    def window_size(self) -> int:
        """Return how many rows are held in memory at a time."""
        return self.batch_size * WINDOW

    def predict(self, texts: Iterable[Any]) -> list[Answer]:
        """Return one answer for each text, in order.

        Args:
            texts: a list of texts, or a data frame or `datasets.Dataset` with the text column of the training. A joint
                model also takes lists of tokens.

        Raises:
            UserError: for an item that is not a text, with its number.
        """
        return list(self.predict_iter(texts))

    def predict_iter(self, texts: Iterable[Any]) -> Iterator[Answer]:
        """Yield one answer for each text, in order; memory does not grow with the number of texts."""
        # No generator function: one text instead of a list is refused here, not at the first answer.
        windows = self._windows(self._prepare(texts))
        return (self.task.answer(item, output) for item, output in windows)

    def logits(self, texts: Iterable[Any]) -> Any:
        """Return logits (N, *head_shape), float32, in the order of the texts; several heads as the task stacks them."""
        items = list(self._prepare(texts))
        return self.task.stack(self.outputs(items))

    def logits_iter(self, texts: Iterable[Any]) -> Iterator[Any]:
        """Yield the output for one text after another."""
        windows = self._windows(self._prepare(texts))
        return (output for _, output in windows)

    def _prepare(self, texts: Iterable[Any]) -> Iterator[Any]:
        return prepare_texts(texts, self.task, self.pipeline.text_column)

    def _windows(self, items: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield prepared items with their outputs, a window at a time."""
        while window := list(islice(items, self.window_size)):
            yield from zip(window, self.outputs(window), strict=True)
