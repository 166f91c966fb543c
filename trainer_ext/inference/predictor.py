"""Texts in, answers out. Imports neither torch nor transformers; a checkpoint brings its own session."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from trainer_ext.characters import broken_at
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.errors import RunError, UserError
from trainer_ext.tasks import TASKS, Calibration, Task
from trainer_ext.tasks.base import NOT_FINITE

WINDOW = 16  # batches tokenised together, so that rows of similar length share a batch


class Session(Protocol):
    """What runs a batch: ONNX Runtime, or torch for a checkpoint."""

    provider: str
    file_name: str
    one_text_a_run: bool
    """Whether a text's answer would depend on the others of its batch, so that it gets a run of its own."""
    callers: int
    """How many threads may call `run` at the same time to use the cores there are."""

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`logits` (B, *head_shape), and what other heads give, of int64 arrays (B, L)."""


class Predictor:
    """A model ready to answer: tokenizer, session and the task's decoding.

    Args:
        session: runs batches.
        tokenizer: a `tokenizers.Tokenizer`.
        pipeline: from the model's config: task, label space, max_length, pad_token_id, input names.
        batch_size: rows in one run, where the session takes more than one.
    """

    def __init__(
        self, session: Session, tokenizer: Tokenizer, pipeline: dict[str, Any], batch_size: int = 8
    ):
        self.session = session
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.task: Task = build_task(pipeline)
        self.cleaning = Cleaning.from_dict(pipeline.get("cleaning"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.cutter = Truncation.from_dict(pipeline.get("truncation")).cutter(
            pipeline["max_length"],
            tokenizer.num_special_tokens_to_add(False),
            lambda marker: tokenizer.encode(marker, add_special_tokens=False).ids,
        )
        if self.cutter is None:
            tokenizer.enable_truncation(pipeline["max_length"])
        self.tokenizer = tokenizer

    def logits(self, texts: Sequence[str]) -> Any:
        """Logits (N, *head_shape), float32, in the order of the texts; several heads as the task stacks them."""
        return self.task.stack(self.outputs(list(self._prepared(texts))))

    def outputs(self, items: list) -> list:
        """The task's output for each prepared item, in order."""
        encoded = self._encoded(items)
        if self.cutter is not None:
            encoded = list(map(self.cutter, encoded))
        batches = self._batches(encoded)
        out: list = [None] * len(items)
        for rows, arrays in zip(batches, self._run(encoded, batches), strict=True):
            self._check_shape(arrays)
            self._check_finite(arrays)
            for position, k in enumerate(rows):
                own = {name: array[position] for name, array in arrays.items()}
                out[k] = self.task.row_output(own, encoded[k], items[k])
        return out

    def _check_shape(self, arrays: dict[str, np.ndarray]) -> None:
        """Raise `UserError` for a head of another size than the labels: they would be paired wrongly, or not at all."""
        shapes = {"logits": (arrays["logits"].shape[1:], tuple(self.task.head_shape))}
        if self.task.token_classes:
            tokens = arrays.get("token_logits", np.empty(0))
            shapes["token_logits"] = (tokens.shape[2:], (self.task.token_classes,))
        for name, (given, expected) in shapes.items():
            if given != expected:
                raise UserError(
                    f"the model's head gives {given} numbers ({name}), but its config.json has labels for {expected}: "
                    "they are not of the same model"
                )

    def _check_finite(self, arrays: dict[str, np.ndarray]) -> None:
        """Raise `RunError` for NaN and infinity: of NaN the first class would be the answer."""
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise RunError(f"{self.session.file_name}: {NOT_FINITE}")

    def _encoded(self, items: list) -> list:
        """The tokens of each item, not yet cut.

        Raises:
            UserError: for a tokenizer whose parts do not fit together.
        """
        try:
            if self.task.reads_words:  # the fast one does not keep which word a piece belongs to
                words = [self.cleaning.by_word(item.words) for item in items]
                return self.tokenizer.encode_batch(words, is_pretokenized=True)
            return self.tokenizer.encode_batch_fast(list(map(self.cleaning, items)))
        except BaseException as error:
            if not is_rusts(error):
                raise
            raise UserError(f"the model's tokenizer.json is damaged: {error}") from error

    def _batches(self, encoded: list) -> list[list[int]]:
        """Numbers of rows that share a run: rows of like length, the longest first, so that callers end together."""
        size = 1 if self.session.one_text_a_run else self.batch_size
        by_length = sorted(range(len(encoded)), key=lambda k: len(encoded[k].ids), reverse=True)
        return [by_length[start : start + size] for start in range(0, len(encoded), size)]

    def _run(self, encoded: list, batches: list[list[int]]) -> Iterator[dict[str, np.ndarray]]:
        """The session's arrays of each batch, in order; the batches are shared out among its callers."""

        def run(rows: list[int]) -> dict[str, np.ndarray]:
            return self.session.run(self._pad([encoded[k] for k in rows]))

        callers = min(self.session.callers, len(batches))
        if callers <= 1:
            yield from map(run, batches)
            return
        with ThreadPoolExecutor(callers) as pool:
            yield from pool.map(run, batches)

    def _pad(self, encodings: list) -> dict[str, np.ndarray]:
        """int64 arrays (B, longest) by input name, padded on the right."""
        shape = (len(encodings), max(len(e.ids) for e in encodings))
        arrays = {
            "input_ids": np.full(shape, self.pipeline["pad_token_id"], dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.zeros(shape, dtype=np.int64),
        }
        for row, e in enumerate(encodings):
            arrays["input_ids"][row, : len(e.ids)] = e.ids
            arrays["attention_mask"][row, : len(e.ids)] = 1
            arrays["token_type_ids"][row, : len(e.ids)] = e.type_ids
        return {name: arrays[name] for name in self.pipeline["input_names"]}

    def _prepared(self, texts: Iterable) -> Iterator[Any]:
        """The texts, or those of a table, as the task takes them."""
        return prepared(texts, self.task, self.pipeline.get("text_column", "text"))

    def logits_iter(self, texts: Iterable[str]) -> Iterator[Any]:
        """The output of one text after another (for one head its logits)."""
        return (output for _, output in self._windows(self._prepared(texts)))

    def _windows(self, items: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """Prepared items and outputs; holds a window of them at a time, so any number may stream through."""
        while window := list(islice(items, self.batch_size * WINDOW)):
            yield from zip(window, self.outputs(window), strict=True)

    def predict_iter(self, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
        """One answer a text, in order."""
        return (self.task.answer(*pair) for pair in self._windows(self._prepared(texts)))

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """One answer a text, in order."""
        return list(self.predict_iter(texts))


def prepared(texts: Iterable, task: Task, text_column: str = "text") -> Iterator[Any]:
    """The texts as the task's other methods take them, one at a time.

    Of a table (a data frame, a `datasets.Dataset`) the text column is taken.

    Raises:
        UserError: for a single text, which would be answered character by character, or a mapping, by its keys; for a
            table without the column; and while they are gone through for an item that is no text, with its number.
    """
    if isinstance(texts, (str, bytes)):
        raise UserError(
            f"expected a list of texts, got one text: {texts[:40]!r}; put it into a list"
        )
    if isinstance(texts, Mapping):
        raise UserError(
            f"expected a list of texts, got a mapping with the keys {', '.join(map(repr, texts))[:80]}"
        )
    columns = columns_of(texts)
    if columns is not None:
        texts = texts[column_in(columns, text_column)]
        texts = (
            texts.to_pylist() if hasattr(texts, "to_pylist") else texts
        )  # pyarrow has scalars of its own
    return (prepare(number, item, task) for number, item in enumerate(texts, 1))


def columns_of(texts: Iterable) -> list[str] | None:
    """The names of a table's columns; None for what is no table."""
    found = getattr(texts, "column_names", None)
    found = getattr(texts, "columns", None) if found is None else found
    return None if found is None else [str(name) for name in found]


def column_in(columns: Iterable[str], text_column: str) -> str:
    """The column with the texts: the one of the training, else `text`; a `UserError` where neither is there."""
    columns = list(columns)
    for name in (text_column, "text"):
        if name in columns:
            return name
    raise UserError(
        f"expected a column {text_column!r} with the texts, got {', '.join(map(repr, columns))[:200]}: give the column "
        "itself, e.g. predict(frame['review'])"
    )


def prepare(number: int, item: Any, task: Task) -> Any:
    """One item, counted from 1."""
    try:
        prepared_item = task.prepare(item)
        place = broken_at(getattr(prepared_item, "text", prepared_item))
    except UserError as error:
        raise UserError(f"text {number}: {error}") from None
    if place is not None:
        raise UserError(
            f"text {number}: holds a broken character (half of a surrogate pair) at {place}"
        )
    return prepared_item


def build_task(pipeline: dict[str, Any]) -> Task:
    """The task with the label space that a pipeline names."""
    task = TASKS[pipeline["task"]]
    space = task.label_space_class.from_dict(pipeline["label_space"])
    return task(space, Calibration.from_dict(pipeline.get("calibration")))


def is_rusts(error: BaseException) -> bool:
    """Whether the Rust side of `tokenizers` raised this: a bare Exception, or a panic, which is none."""
    return type(error) is Exception or type(error).__name__ == "PanicException"
