"""Where in an INT8 file the encoder's numbers are: `native/encoder.json`, which `export.py` writes.

The weights stay in the ONNX file, which other runtimes read; the plan has their places in it, so that nothing needs to
parse a graph when a model is loaded.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.inference.layout import NATIVE_FOLDER, model_folder

PLAN = "encoder.json"
HEAD = "head.onnx"
FORMAT = 2
# Format 1 had a number of heads, as wide together as the hidden size, in the place of `head_size`.
KNOWN_FORMATS = (1, FORMAT)
# The parts of a layer, by the names that they have in the plan and in the order by which encoder.c numbers them.
LINEARS = ("joined", "query", "output", "inner", "outer")
NORMS = ("attention_norm", "output_norm")
TYPES: dict[str, type] = {"int8": np.int8, "float32": np.float32}


class Plan:
    """The plan of an INT8 file, and the file's numbers.

    Args:
        file: the ONNX file.
        content: of encoder.json.
        path: of encoder.json, for messages.
    """

    def __init__(self, file: Path, content: Mapping[str, Any], path: Path):
        self.content = content
        self.path = path
        self.head = path.parent / HEAD
        # Pages are read when they are needed: embeddings of most words never are.
        self._bytes = np.memmap(file, dtype=np.uint8, mode="r")

    def array(self, place: Mapping[str, Any]) -> np.ndarray:
        """Return the numbers at a place: a view of the file.

        Raises:
            UserError: if it is not in the file.
        """
        try:
            kind = TYPES[place["type"]]
            shape = [int(size) for size in place["shape"]]
            first = int(place["offset"])
            size = prod(shape) * np.dtype(kind).itemsize
            if first < 0 or min(shape) < 1 or first + size > self._bytes.size:
                raise ValueError
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.path}: {place!r:.80} is not a place in the file") from error
        part: np.ndarray = self._bytes[first : first + size]
        return part.view(kind).reshape(shape)

    def floats(self, place: Mapping[str, Any] | None) -> np.ndarray | None:
        """Return float32 numbers as an array of their own, as the file's need not be aligned; None without a place."""
        if place is None:
            return None
        return np.array(self.array(place), dtype=np.float32)


def read_plan(file: Path) -> Plan | None:
    """Return the plan of an INT8 file; None if there is none, or if it is that of another file.

    Raises:
        UserError: if the plan is damaged.
    """
    path = model_folder(file) / NATIVE_FOLDER / PLAN
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is not an object with the places of an encoder's weights")
    is_of_file = content.get("file") == file.name and content.get("bytes") == file.stat().st_size
    if content.get("format") not in KNOWN_FORMATS or not is_of_file:
        return None
    return Plan(file, content, path)
