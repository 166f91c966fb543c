"""An INT8 export run by the native encoder, and what comes after it by ONNX Runtime."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.cores import available_cores
from trainer_ext.data.preprocessing.batch import Arrays, Batch
from trainer_ext.errors import UserError, describe_error
from trainer_ext.inference.native.checks import (
    check_sizes,
    check_weights,
    head_size_of,
    layer_sizes,
)
from trainer_ext.inference.native.library import Library, address
from trainer_ext.inference.native.plan import LINEARS, NORMS, Plan
from trainer_ext.inference.onnx_session import session_options
from trainer_ext.inference.providers import open_session

# The numbers by which encoder.c knows what picks a row.
ROW_OF = {"token": 0, "position": 1, "type": 2, "constant": 3}
EMBEDDINGS = -1
# As many texts as the library takes, and as many tokens as their numbers stay in the cache between two products.
TEXTS_AT_ONCE = 64
TOKENS_AT_ONCE = 384
# Rooms are made for multiples of so many tokens, so that texts of similar lengths share one.
TOKEN_STEP = 64
NO_ROOM = "no room for the weights of the encoder"


class Encoder:
    """The weights of an encoder in the library's memory, and rooms to work in.

    Args:
        library: for this CPU.
        plan: of the file.

    Raises:
        UserError: if the plan does not describe an encoder.
        MemoryError: if there is no room for the weights.
    """

    def __init__(self, library: Library, plan: Plan):
        self._functions = library.functions
        self._rooms: list[tuple[int, int]] = []
        self._kept: list[np.ndarray | None] = []
        # Of tokens that do not count as positions; None if all do.
        self._skipped: int | None = None
        self._pointer = None
        try:
            self._load(plan, plan.content)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            reason = describe_error(error)
            raise UserError(f"{plan.path} does not describe an encoder: {reason}") from error

    def _load(self, plan: Plan, content: Mapping[str, Any]) -> None:
        # The library reads and writes where these say.
        check_sizes(content)
        check_weights(plan)
        layers = content["layers"]
        self.hidden = content["hidden"]
        self.is_first_token_only = layers[-1]["query"] is not None
        sizes = np.array([layer_sizes(plan, layer) for layer in layers], dtype=np.int32)
        # One behind the other, as the library reads them.
        heads, inner = sizes.T.copy()
        self._pointer = self._functions.encoder_new(
            len(layers),
            self.hidden,
            head_size_of(content),
            address(heads),
            address(inner),
            float(content["epsilon"]),
            float(content["attention_scale"]),
        )
        if not self._pointer:
            raise MemoryError(NO_ROOM)
        for table in content["tables"]:
            self._add_table(plan, table)
        self._set_norm(plan, EMBEDDINGS, 0, content["embedding_norm"])
        for number, layer in enumerate(layers):
            for which, name in enumerate(LINEARS):
                if layer[name] is not None:
                    self._set_linear(plan, number, which, layer[name])
            for which, name in enumerate(NORMS):
                self._set_norm(plan, number, which, layer[name])

    def _add_table(self, plan: Plan, table: Mapping[str, Any]) -> None:
        rows = plan.array(table["rows"])
        scales = plan.floats(table["scales"])
        numbers = rows if scales is not None else plan.floats(table["rows"])
        # The library reads these where they are.
        self._kept += [numbers, scales]
        in_bytes = numbers if scales is not None else None
        in_floats = numbers if scales is None else None
        row_of = table["row_of"]
        if table.get("skipped") is not None:
            # The library counts every token, but takes the numbers of rows in the place of types.
            self._skipped = table["skipped"]
            row_of = "type"
        self._functions.encoder_add_table(
            self._pointer,
            ROW_OF[row_of],
            int(table["offset"]),
            len(rows),
            address(in_bytes),
            address(scales),
            address(in_floats),
        )

    def _set_linear(self, plan: Plan, layer: int, which: int, linear: Mapping[str, Any]) -> None:
        weights = plan.array(linear["weights"])
        depth, columns = weights.shape
        scales = np.empty(columns, dtype=np.float32)
        # One for all columns, or one for each.
        scales[:] = plan.array(linear["scales"])
        bias = plan.floats(linear["bias"])
        smoothing = plan.floats(linear["smoothing"])
        is_there = self._functions.encoder_set_linear(
            self._pointer,
            layer,
            which,
            depth,
            columns,
            address(weights),
            address(scales),
            address(bias),
            address(smoothing),
        )
        if not is_there:
            raise MemoryError(NO_ROOM)

    def _set_norm(self, plan: Plan, layer: int, which: int, norm: Mapping[str, Any]) -> None:
        weight = plan.floats(norm["weight"])
        bias = plan.floats(norm["bias"])
        if not self._functions.encoder_set_norm(
            self._pointer, layer, which, address(weight), address(bias)
        ):
            raise MemoryError(NO_ROOM)

    def run(self, ids: np.ndarray, types: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the last hidden states of texts; several threads may call this at the same time.

        Args:
            ids: int64 (tokens of all texts, one text behind the other).
            types: int64, as many.
            lengths: int64 (texts), at most `TEXTS_AT_ONCE`.

        Returns:
            float32 (tokens, hidden), or (texts, hidden) where only first tokens are computed.

        Raises:
            UserError: for an id, a type or a length that the embeddings have no row for.
        """
        rows = len(lengths) if self.is_first_token_only else len(ids)
        hidden = np.empty((rows, self.hidden), dtype=np.float32)
        if self._skipped is not None:
            types = positions(ids, lengths, self._skipped)
        size, room = self._take_room(len(ids))
        try:
            is_known = self._functions.encoder_run(
                self._pointer,
                room,
                address(ids),
                address(types),
                address(lengths),
                len(lengths),
                address(hidden),
            )
        finally:
            self._rooms.append((size, room))
        if not is_known:
            longest = lengths.max()
            raise UserError(
                f"an id, a type or a length (up to {longest}) is beyond the embeddings: "
                "the tokenizer or max_length is not of this model"
            )
        return hidden

    def _take_room(self, tokens: int) -> tuple[int, int]:
        """Return a room to work in that nobody else is in."""
        # Taking from a list and adding to it are single steps of the interpreter.
        try:
            size, room = self._rooms.pop()
        except IndexError:
            size, room = 0, 0
        if size >= tokens:
            return size, room
        if room:
            self._functions.workspace_free(room)
        size = -(-tokens // TOKEN_STEP) * TOKEN_STEP
        room = self._functions.workspace_new(self._pointer, size)  # None if there is no memory
        if not room:
            raise MemoryError(f"no room for {tokens} tokens")
        return size, room

    def __del__(self) -> None:
        if self._pointer is None:
            return
        for _, room in self._rooms:
            self._functions.workspace_free(room)
        self._functions.encoder_free(self._pointer)


class NativeSession:
    """Run the encoder of an INT8 file in C, and its head in ONNX Runtime.

    As in ONNX Runtime, activations are scaled by the largest value of a text. Here each text of a batch has a scale of
    its own, so an answer is the same whatever else is in the batch.

    Args:
        file: the INT8 file.
        plan: of that file.
        library: for this CPU.
        num_threads: how many callers; None: the cores this process may use.
    """

    batch_invariant = True
    provider = "cpu"

    def __init__(self, file: Path, plan: Plan, library: Library, num_threads: int | None = None):
        self.file_name = file.name
        self.parallel_runs = num_threads or available_cores()
        self.native_target = library.target
        self._encoder = Encoder(library, plan)
        self._hidden_name = str(plan.content["output"])
        self._head = open_session(plan.head, session_options(1), "cpu")
        self._head_inputs = [item.name for item in self._head.get_inputs()]
        if self._hidden_name not in self._head_inputs:
            raise UserError(f"{plan.head} does not read {self._hidden_name}, the encoder's output")
        self._head_inputs.remove(self._hidden_name)
        self.output_names = [item.name for item in self._head.get_outputs()]

    def run(self, batch: Batch) -> Arrays:
        """Return the outputs (B, ...) by name; those of tokens are filled with zeros to the longest text."""
        lengths = batch.lengths
        if not all(lengths):
            raise UserError(f"{self.file_name}: a text has no tokens")
        inputs = batch.flat()
        # All texts first: the encoder's weights drive the head out of the cache.
        states = list(self._states(inputs, lengths))
        rows = []
        for text, states_of_text in zip(spans(lengths), states, strict=True):
            rows.append(self._run_head(states_of_text, inputs, text))
        columns = zip(self.output_names, zip(*rows, strict=True), strict=True)
        return {name: stack(arrays) for name, arrays in columns}

    def _states(self, inputs: Arrays, lengths: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the last hidden states of each text: (1, L, hidden), or (1, 1, hidden) of the first token only."""
        texts = spans(lengths)
        for first, last in groups(lengths):
            tokens = slice(texts[first].start, texts[last - 1].stop)
            counts = lengths[first:last]
            hidden = self._encoder.run(
                inputs["input_ids"][tokens],
                inputs["token_type_ids"][tokens],
                np.array(counts, dtype=np.int64),
            )
            if self._encoder.is_first_token_only:
                counts = [1] * len(counts)
            for rows in spans(counts):
                yield hidden[None, rows]

    def _run_head(self, states: np.ndarray, inputs: Arrays, text: slice) -> list[np.ndarray]:
        """Return the outputs (1, ...) of a text whose last hidden states are known.

        Args:
            states: of the text.
            inputs: of the batch, flat.
            text: where the text is in them.
        """
        feed = {self._hidden_name: states}
        for name in self._head_inputs:
            feed[name] = inputs[name][None, text]
        outputs: list[np.ndarray] = self._head.run(None, feed)
        return outputs


def positions(ids: np.ndarray, lengths: np.ndarray, skipped: int) -> np.ndarray:
    """Return the row of each token's position where tokens of one id do not count (RoBERTa).

    Args:
        ids: int64 (tokens of all texts).
        lengths: int64 (texts).
        skipped: the id; such a token has the row of that number, and the first other one that after it.
    """
    counts = ids != skipped
    numbers = np.cumsum(counts)
    ends = np.cumsum(lengths)
    # What the texts before each one have counted.
    before = np.concatenate([[0], numbers[ends[:-1] - 1]])
    rows: np.ndarray = skipped + (numbers - np.repeat(before, lengths)) * counts
    return rows


def groups(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last (excluded) row of the texts that are run together: neighbours of few tokens in all."""
    first = 0
    tokens = 0
    for row, length in enumerate(lengths):
        is_full = tokens + length > TOKENS_AT_ONCE or row - first == TEXTS_AT_ONCE
        if is_full and row > first:
            yield first, row
            first = row
            tokens = 0
        tokens += length
    yield first, len(lengths)


def spans(lengths: Sequence[int]) -> list[slice]:
    """Return where each text is, if they lie one behind the other."""
    ends = accumulate(lengths)
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return arrays (1, ...) as one (B, ...): those of different lengths are filled with zeros."""
    lengths = {row.shape[1] for row in rows}
    if len(lengths) == 1:
        return np.concatenate(rows)
    first = rows[0]
    filled = np.zeros((len(rows), max(lengths), *first.shape[2:]), dtype=first.dtype)
    for number, row in enumerate(rows):
        filled[number, : row.shape[1]] = row[0]
    return filled
