"""Probe rows: token ids with the logits proven for them, run again wherever an export is loaded.

INT8 may answer differently on another CPU: one without VNNI adds products in 16 bits, which overflow. `export/probe.py`
writes the rows; here they are read and compared. They hold no user's text, and take milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer_ext.data.preprocessing.batch import Arrays
from trainer_ext.errors import UserError, describe_error
from trainer_ext.files import read_json
from trainer_ext.inference.single import SinglePredictor

PROBE = "probe.json"
# The session's outputs by head, in the order of `Task.heads`.
HEADS = ("logits", "token_logits")
# Tokens that are run on loading, in whole rows, shortest first; `export.py --verify` runs all rows. Up to the row of
# 32: kernels take as many at a time, and those of AMX were wrong there alone until onnxruntime 1.25.
TOKENS_ON_LOADING = 72
# The native runtime is another program than the one that the rows were proven with: numbers on the edge of two levels
# fall otherwise (measured: 0.15 to 0.4 of INT8's own error, to 1.1 with attention in bfloat16; the tolerance is 0.4 of
# it, and products that overflow cost three times INT8's own error).
NATIVE_SLACK = 4.0
LARGEST = 1e30  # of logits and tolerances: their squares are still finite


class Mismatch(NamedTuple):
    """A part of the logits that differs more from what was proven than is allowed.

    Attributes:
        difference: root mean square over the rows.
        tolerance: the largest that is allowed.
    """

    difference: float
    tolerance: float

    def __str__(self) -> str:
        return f"by {self.difference:.2g} (root mean square of the logits), more than {self.tolerance:.2g}"


@dataclass(frozen=True)
class ProbeRow:
    """One row.

    Attributes:
        where: for messages: `probe.json: rows[2]`.
        input_ids: special tokens included.
        logits: by variant, as `to_stored` writes them.
    """

    where: str
    input_ids: list[int]
    logits: Mapping[str, Any]


@dataclass(frozen=True)
class Probe:
    """The content of probe.json.

    Attributes:
        path: for messages.
        rows: shortest first.
        tolerance: by variant, the root mean square allowed for each of the task's `parts`.
    """

    path: Path
    rows: list[ProbeRow]
    tolerance: Mapping[str, Any]

    def covers(self, variant: str) -> bool:
        """Tell whether anything was proven for a variant; one that has only a part of it is damaged."""
        if variant in self.tolerance:
            return True
        return any(variant in row.logits for row in self.rows)

    def rows_on_loading(self) -> list[ProbeRow]:
        """Return the rows that are worth the time of a cold start: at least one."""
        chosen = self.rows[:1]
        tokens = len(chosen[0].input_ids)
        for row in self.rows[1:]:
            tokens += len(row.input_ids)
            if tokens > TOKENS_ON_LOADING:
                break
            chosen.append(row)
        return chosen

    def check(
        self,
        predictor: SinglePredictor,
        variant: str,
        every_row: bool = False,
    ) -> Mismatch | None:
        """Run rows through a predictor, and compare its logits with those proven for a variant.

        Args:
            predictor: of the file of that variant.
            variant: its name; the probe has to cover it.
            every_row: also the long ones.

        Returns:
            The part that is furthest beyond its tolerance; None if all are within.

        Raises:
            UserError: if the probe is damaged.
        """
        rows = self.rows if every_row else self.rows_on_loading()
        here = []
        proven = []
        for row in rows:
            arrays = self._run(predictor, row)
            here.append(to_output(predictor, arrays))
            proven.append(to_output(predictor, proven_arrays(row, variant, arrays)))
        differences = part_differences(predictor, here, proven)
        slack = NATIVE_SLACK if predictor.is_native else 1.0
        tolerances = [slack * value for value in self._tolerances(variant, len(differences))]
        worst: Mismatch | None = None
        for difference, tolerance in zip(differences, tolerances, strict=True):
            # `not <=`, because NaN must not pass.
            is_beyond = not difference <= tolerance
            if is_beyond and (
                worst is None or difference / tolerance > worst.difference / worst.tolerance
            ):
                worst = Mismatch(difference, tolerance)
        return worst

    def _run(self, predictor: SinglePredictor, row: ProbeRow) -> Arrays:
        """Return the session's outputs for one row; `UserError` if the model does not take its ids."""
        longest = predictor.pipeline.max_length
        if len(row.input_ids) > longest:
            raise UserError(
                f"{row.where}.input_ids has {len(row.input_ids)} tokens, but the model takes {longest}"
            )
        try:
            return predictor.run_tokens(row.input_ids)
        except UserError:
            raise
        except Exception as error:  # each runtime has types of its own
            raise UserError(
                f"{row.where}.input_ids cannot be run: {describe_error(error)}"
            ) from error

    def _tolerances(self, variant: str, parts: int) -> list[float]:
        """Return the tolerance of each part; `UserError` unless there is a positive number for each."""
        stored = self.tolerance.get(variant)
        where = f"{self.path}: tolerance.{variant}"
        if not isinstance(stored, list) or len(stored) != parts:
            raise UserError(f"{where} {stored!r:.80} is not a list of {parts} numbers")
        for value in stored:
            if not is_positive(value):
                raise UserError(f"{where} {stored!r:.80} holds what is not a number above 0")
        return list(map(float, stored))


def read_probe(folder: Path) -> Probe | None:
    """Return the probe of an export; None if it was made before there were probes.

    What is proven for one variant is checked when that variant is.

    Raises:
        UserError: if probe.json is damaged, naming the entry.
    """
    path = folder / PROBE
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is not a probe: expected an object with rows and tolerance")
    tolerance = content.get("tolerance")
    if not isinstance(tolerance, Mapping):
        raise UserError(f"{path}: tolerance {tolerance!r:.80} is not an object")
    stored = content.get("rows")
    if not isinstance(stored, list) or not stored:
        raise UserError(f"{path}: rows {stored!r:.80} is not a list of rows")
    rows = []
    for number, row in enumerate(stored):
        rows.append(parse_row(f"{path}: rows[{number}]", row))
    rows.sort(key=lambda row: len(row.input_ids))
    return Probe(path, rows, tolerance)


def parse_row(where: str, row: Any) -> ProbeRow:
    """Return a row; `UserError` if it does not have token ids, and logits by variant."""
    if not isinstance(row, Mapping):
        raise UserError(f"{where} {row!r:.80} is not an object")
    ids = row.get("input_ids")
    if not isinstance(ids, list) or not ids:
        raise UserError(f"{where}.input_ids {ids!r:.80} is not a list of token ids")
    for token in ids:
        # type(): JSON's true is an int to Python.
        if type(token) is not int or not 0 <= token < 2**31:
            raise UserError(f"{where}.input_ids: {token!r:.80} is not a token id")
    logits = row.get("logits")
    if not isinstance(logits, Mapping):
        raise UserError(f"{where}.logits {logits!r:.80} is not an object with logits by variant")
    return ProbeRow(where, ids, logits)


def to_output(predictor: SinglePredictor, arrays: Arrays) -> Any:
    """Return the task's output for a row of token ids: logits of all heads, of the second one those of every token."""
    heads = []
    for name in HEADS:
        if name in arrays:
            heads.append(arrays[name][0])
    return predictor.task.from_heads(heads)


def to_stored(arrays: Arrays) -> Any:
    """Return a row's logits as probe.json has them: nested lists, for two heads an object of these."""
    stored = {}
    for name in HEADS:
        if name in arrays:
            stored[name] = arrays[name][0].tolist()
    if len(stored) == 1:
        return stored["logits"]
    return stored


def proven_arrays(row: ProbeRow, variant: str, like: Arrays) -> Arrays:
    """Return the proven outputs of a row.

    Args:
        row: of the probe.
        variant: whose logits.
        like: outputs of the model for this row, whose shapes they must have.

    Raises:
        UserError: if they do not.
    """
    where = f"{row.where}.logits.{variant}"
    if variant not in row.logits:
        raise UserError(f"{where} is missing")
    stored = row.logits[variant]
    by_head = stored if isinstance(stored, Mapping) else {"logits": stored}
    arrays: Arrays = {}
    for name in HEADS:
        if name in like:
            expected = like[name].shape[1:]
            arrays[name] = to_array(f"{where} ({name})", by_head.get(name), expected)[None]
    return arrays


def to_array(where: str, stored: Any, shape: Sequence[int]) -> np.ndarray:
    """Return nested lists of numbers as an array, or raise `UserError` if they have another shape."""
    try:
        array = np.asarray(stored)
    except ValueError:  # rows of different lengths
        array = np.empty(0, dtype=object)
    # Text would be converted to float, if it looks like one.
    if array.dtype.kind not in "if" or array.shape != tuple(shape):
        raise UserError(f"{where} is not {tuple(shape)} numbers: {stored!r:.80}")
    # `not <=`, because NaN must not pass.
    if not (np.abs(array) <= LARGEST).all():
        raise UserError(f"{where} holds what is not a finite number")
    return array.astype(np.float64)


def part_differences(
    predictor: SinglePredictor,
    here: Sequence[Any],
    proven: Sequence[Any],
) -> list[float]:
    """Return the root mean square difference of two lists of outputs, for each part that has a scale of its own."""
    task = predictor.task
    pairs = zip(task.parts(task.stack(here)), task.parts(task.stack(proven)), strict=True)
    differences = []
    for own, other in pairs:
        squares = (own.astype(np.float64) - other) ** 2
        differences.append(float(np.sqrt(squares.mean())))
    return differences


def is_positive(value: Any) -> bool:
    """Tell whether a value from JSON is a number above 0 that float has room for."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value <= LARGEST
