"""The compiled encoder for this CPU: which file, and what its functions take."""

import ctypes
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from trainer_ext.inference.hardware import instruction_set

FOLDER = Path(__file__).parent
# Fastest first: each needs the instructions after which it is called.
TARGETS = ("amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx2")
# Of these, the ones that add two products in 16 bits: exact only for weights that an export made safe for it.
ADDS_IN_16_BITS = ("avx2",)
POINTER = ctypes.c_void_p
INT = ctypes.c_int
FLOAT = ctypes.c_float


class Library:
    """The functions of encoder.c, compiled for one kind of CPU.

    Args:
        target: one of `TARGETS`.

    Attributes:
        functions: by the names that they have in encoder.c, with their types declared.

    Raises:
        OSError: if it is not there, or the system does not grant what it needs.
    """

    def __init__(self, target: str):
        self.target = target
        self.functions = ctypes.CDLL(str(library_file(target)))
        self._declare("encoder_prepare", [], INT)
        self._declare("encoder_new", [*[INT] * 3, *[POINTER] * 2, *[FLOAT] * 2], POINTER)
        self._declare("encoder_set_linear", [POINTER, *[INT] * 4, *[POINTER] * 4], INT)
        self._declare("encoder_set_norm", [POINTER, INT, INT, POINTER, POINTER], INT)
        self._declare("encoder_add_table", [POINTER, *[INT] * 3, *[POINTER] * 3], None)
        self._declare("encoder_free", [POINTER], None)
        self._declare("workspace_new", [POINTER, INT], POINTER)
        self._declare("workspace_free", [POINTER], None)
        self._declare("encoder_run", [*[POINTER] * 5, INT, POINTER], INT)
        if self.functions.encoder_prepare() != 0:
            raise OSError(f"the system does not let this process use {target}")

    def _declare(self, name: str, arguments: Sequence[type], result: type | None) -> None:
        function = getattr(self.functions, name)
        function.argtypes = arguments
        function.restype = result


def library_file(target: str) -> Path:
    """Return where `setup.py` puts the library for a kind of CPU."""
    return FOLDER / f"encoder_{target}{sysconfig.get_config_var('EXT_SUFFIX')}"


@lru_cache
def library_here(is_pair_safe: bool = True) -> Library | None:
    """Return the fastest library that this CPU runs; None if there is none, or it was not compiled.

    Args:
        is_pair_safe: whether the weights are exact where two products are added in 16 bits.
    """
    instructions = instruction_set().split()
    for target in TARGETS:
        if target not in instructions or (target in ADDS_IN_16_BITS and not is_pair_safe):
            continue
        try:
            return Library(target)
        except OSError:
            continue  # the next one needs less
    return None


def address(array: np.ndarray | None) -> int | None:
    """Return where an array's values are; None without one."""
    if array is None:
        return None
    return int(array.ctypes.data)
