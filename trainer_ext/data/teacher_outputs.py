"""What a teacher answers to each training row: memory-mapped files, computed once and filled in order.

The folder holds `progress.json`, written first and after each part, so that a run that was cut off goes on behind the
last whole part; `rows.npy` (N, *head_shape); `words.npy` (words of all rows, C) if words have labels too; and
`confidence.npy` (N,) if labels are kept and not probabilities.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap

from trainer_ext.errors import UserError
from trainer_ext.files import read_json, write_json

PROGRESS = "progress.json"
TEACHER_ROW = "teacher_row"
"""The column with the number of a row here."""
LABELLED = "is_labelled"
"""The column that tells whether a row has a label, in training rows of which some have none."""

Array = np.ndarray
Shape = tuple[int, ...]


class TeacherOutputs:
    """A teacher's values for N rows, in float32.

    Args:
        folder: where the files are, or will be.
        key: a hash of all that the values depend on; values under another key are replaced.
        head_shape: of one row's values.
        words: for rows of words, how many each has; else None.
        word_classes: of one word's values.
        has_confidence: whether each row also has how sure the teacher is of it.

    Raises:
        UserError: if the folder holds something else.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        rows: int,
        head_shape: Shape,
        words: Sequence[int] | None = None,
        word_classes: int = 0,
        has_confidence: bool = False,
    ):
        self.folder = folder
        self.key = key
        self.shapes: dict[str, Shape] = {"rows": (rows, *head_shape)}
        # The first word of each row, and behind the last one.
        self.starts = np.zeros(rows + 1, dtype=np.int64)
        if words is not None:
            np.cumsum(words, out=self.starts[1:])
            self.shapes["words"] = (int(self.starts[-1]), word_classes)
        if has_confidence:
            self.shapes["confidence"] = (rows,)
        self.done = self._rows_done()
        if not self.done:
            self._start()
        # A finished one is only read, by as many processes as train.
        self._files = self._open("r" if self.is_complete else "r+")

    @property
    def is_complete(self) -> bool:
        """Whether every row has its values."""
        return self.done == self.shapes["rows"][0]

    def write(
        self,
        values: Sequence[tuple[Array, ...]],
        confidences: Sequence[float] = (),
    ) -> None:
        """Add the values of the next rows: of the row, and of its words if words have some; then they are kept.

        Args:
            values: of each row.
            confidences: of each row, if they are kept.
        """
        for row, heads in enumerate(values, self.done):
            self._files["rows"][row] = heads[0]
            if "words" in self._files:
                first, end = self.starts[row], self.starts[row + 1]
                self._files["words"][first:end] = heads[1]
        if "confidence" in self._files:
            self._files["confidence"][self.done : self.done + len(values)] = confidences
        for file in self._files.values():
            file.flush()
        self.done += len(values)
        self._note_progress()

    def of_rows(self, rows: Sequence[int]) -> Array:
        """Return the values (B, *head_shape) of rows."""
        return np.array(self._files["rows"][list(rows)])

    @property
    def word_classes(self) -> int:
        """Size of a word's values; 0 if words have none."""
        return self.shapes["words"][1] if "words" in self.shapes else 0

    def of_words(self, row: int, words: Sequence[int]) -> Array:
        """Return the values (W, C) of words of a row, by their numbers in it."""
        return np.array(self._files["words"][self.starts[row] + np.asarray(words, dtype=np.int64)])

    def confidences(self, first: int) -> Array:
        """Return how sure the teacher is of each row from number `first` on."""
        return np.array(self._files["confidence"][first:])

    def _rows_done(self) -> int:
        """Return how many rows have values under this key already."""
        if not self.folder.exists():
            return 0
        progress = self.folder / PROGRESS
        if not progress.is_file():
            if any(self.folder.iterdir()):
                raise UserError(
                    f"{self.folder} is where a teacher's answers are kept, but it holds something else: remove it"
                )
            return 0
        try:
            state = read_json(progress)
        except UserError:
            return 0
        if not isinstance(state, dict) or state.get("key") != self.key:
            return 0
        return int(state.get("rows", 0)) if self._are_whole() else 0

    def _are_whole(self) -> bool:
        """Return whether the files can be read and have their shapes."""
        try:
            # Not r+, which would fill up a file that is too short.
            files = self._open("r")
        except (OSError, ValueError):
            return False
        return all(file.shape == self.shapes[name] for name, file in files.items())

    def _start(self) -> None:
        """Make files for all rows."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.done = 0
        # First: files without it would be somebody else's.
        self._note_progress()
        for name, shape in self.shapes.items():
            file = open_memmap(self._path(name), mode="w+", dtype=np.float32, shape=shape)
            file.flush()

    def _open(self, mode: Literal["r", "r+"]) -> dict[str, Any]:
        files = {}
        for name in self.shapes:
            files[name] = np.load(self._path(name), mmap_mode=mode)
        return files

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _note_progress(self) -> None:
        write_json(self.folder / PROGRESS, {"key": self.key, "rows": self.done})
