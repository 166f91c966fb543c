"""One model that answers: tokenizer, session and the task's decoding. Imports neither torch nor transformers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from trainer_ext.data.preprocessing.batch import Arrays, Batch
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.data.preprocessing.truncation import Tokens
from trainer_ext.errors import RunError, UserError
from trainer_ext.inference.batches import group_by_length, share_out
from trainer_ext.inference.predictor import Predictor
from trainer_ext.inference.session import Session
from trainer_ext.tasks.base import NOT_FINITE

Shape = tuple[int, ...]


class SinglePredictor(Predictor):
    """Answer with one model.

    Args:
        session: runs batches.
        tokenizer: of the model; its padding and truncation are switched off here.
        pipeline: from the model's config.
        batch_size: rows in one run, if the session takes more than one.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        pipeline: Pipeline,
        batch_size: int = 8,
    ):
        self.session = session
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.task = pipeline.task
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.cutter = pipeline.truncation.cutter(
            pipeline.max_length, tokenizer.num_special_tokens_to_add(False), self._marker_ids
        )
        if self.cutter is None:  # the tokenizer keeps the head itself, and faster
            tokenizer.enable_truncation(pipeline.max_length)

    @property
    def singles(self) -> "Sequence[SinglePredictor]":
        """Return itself."""
        return [self]

    @property
    def description(self) -> str:
        """Return the file, the provider it runs on, and what runs it if that is not ONNX Runtime or torch."""
        runtime = ""
        if self.is_native:
            runtime = f" (native, {self.session.native_target})"
        return f"{self.session.file_name} on {self.session.provider}{runtime}"

    @property
    def is_native(self) -> bool:
        """Tell whether the compiled encoder answers, and not ONNX Runtime or torch."""
        return bool(self.session.native_target)

    def join(self, by_single: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the only model's outputs."""
        (outputs,) = by_single
        return list(outputs)

    def outputs(self, items: Sequence[Any]) -> list[Any]:
        """Return the task's output for each prepared item, in order.

        Raises:
            UserError: if tokenizer or head do not belong to the labels of the config.
            RunError: if the model's outputs are NaN or infinite.
        """
        return self.outputs_of(items, self.encode(items))

    def outputs_of(self, items: Sequence[Any], encodings: Sequence[Encoding | Tokens]) -> list[Any]:
        """Return the task's output for each prepared item and its encoding, in order; raises as `outputs` does."""
        # Read once: a tokenizer makes new lists each time it is asked.
        texts = [Tokens(encoding.ids, encoding.type_ids) for encoding in encodings]
        batches = self._make_batches(texts)
        outputs: list[Any] = [None] * len(items)
        for rows, arrays in zip(batches, self._run(texts, batches), strict=True):
            self._check_shape(arrays)
            self._check_finite(arrays)
            for position, row in enumerate(rows):
                row_arrays = {name: array[position] for name, array in arrays.items()}
                outputs[row] = self.task.row_output(row_arrays, encodings[row], items[row])
        return outputs

    def is_too_long(self, item: Any) -> bool:
        """Tell whether a prepared item has more tokens than the model takes, so that a part of it is cut."""
        (encoding,) = self._tokenise([item])
        if self.cutter is None:
            return bool(encoding.overflowing)
        return len(encoding.ids) > self.pipeline.max_length

    def run_tokens(self, ids: Sequence[int]) -> Arrays:
        """Return the session's arrays (1, ...) for one row of token ids, special tokens included.

        Raises:
            UserError: if the head does not belong to the labels of the config.
        """
        (arrays,) = self.run_rows([ids])
        self._check_shape(arrays)
        return arrays

    def run_rows(self, rows: Sequence[Sequence[int]]) -> list[Arrays]:
        """Return the session's arrays (B, ...) of each run for rows of token ids, in as many runs as for texts."""
        texts = [Tokens(list(ids), [0] * len(ids)) for ids in rows]
        return self._run(texts, self._make_batches(texts))

    def _marker_ids(self, marker: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(marker, add_special_tokens=False).ids
        return ids

    def encode(self, items: Sequence[Any]) -> list[Encoding | Tokens]:
        """Clean, tokenise and cut each item.

        Raises:
            UserError: for a tokenizer whose parts do not fit together.
        """
        try:
            encodings = self._tokenise(items)
        except BaseException as error:  # a panic of the Rust side is not an Exception
            if not is_tokenizers_error(error):
                raise
            raise UserError(f"the model's tokenizer.json is damaged: {error}") from error
        if self.cutter is None:
            return encodings
        return list(map(self.cutter, encodings))

    def _tokenise(self, items: Sequence[Any]) -> list[Encoding]:
        cleaning = self.pipeline.cleaning
        encodings: list[Encoding]
        if self.task.reads_words:
            # encode_batch_fast does not record which word a piece belongs to.
            words = [cleaning.by_word(item.words) for item in items]
            encodings = self.tokenizer.encode_batch(words, is_pretokenized=True)
        else:
            texts = list(map(cleaning, items))
            encodings = self.tokenizer.encode_batch_fast(texts)
        return encodings

    def _make_batches(self, texts: Sequence[Tokens]) -> list[list[int]]:
        """Group row numbers into runs."""
        size = self.batch_size if self.session.batch_invariant else 1
        lengths = [len(text.ids) for text in texts]
        return group_by_length(lengths, size)

    def _run(self, texts: Sequence[Tokens], batches: Sequence[list[int]]) -> list[Arrays]:
        """Return the session's arrays of each batch, in order, from as many threads as the session wants."""

        def run(rows: list[int]) -> Arrays:
            chosen = [texts[row] for row in rows]
            batch = Batch(chosen, self.pipeline.pad_token_id, self.pipeline.input_names)
            return self.session.run(batch)

        # The session releases the GIL while it runs.
        return share_out(run, batches, self.session.parallel_runs)

    def _check_shape(self, arrays: Arrays) -> None:
        """Raise `UserError` for a head of another size than the labels: they would be paired wrongly, or not at all."""
        logits = arrays["logits"]
        check_head("logits", logits.shape[1:], tuple(self.task.head_shape))
        if self.task.token_classes:
            token_logits = arrays.get("token_logits", np.empty(0))
            check_head("token_logits", token_logits.shape[2:], (self.task.token_classes,))

    def _check_finite(self, arrays: Arrays) -> None:
        """Raise `RunError` for NaN and infinity: the answer to NaN would be the first class."""
        for array in arrays.values():
            if not np.isfinite(array).all():
                raise RunError(f"{self.session.file_name}: {NOT_FINITE}")


def check_head(name: str, shape: Shape, expected: Shape) -> None:
    """Raise `UserError` unless a row's logits have the shape that the labels need."""
    if shape != expected:
        raise UserError(
            f"the model's head gives {shape} numbers ({name}), but its config.json has labels for "
            f"{expected}: they are not of the same model"
        )


def is_tokenizers_error(error: BaseException) -> bool:
    """Tell whether the Rust side of `tokenizers` raised this: a bare Exception, or a panic, which is not one."""
    return type(error) is Exception or type(error).__name__ == "PanicException"
