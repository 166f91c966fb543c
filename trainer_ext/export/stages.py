"""The stages of an export: what each is called, which of them run, and what each of them did.

A stage makes one file, or changes one. `--skip` leaves stages out, or single passes of a stage; `--also` asks for those
that not every user wants.
"""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from trainer_ext.errors import UserError, did_you_mean

# In their order. `onnx` comes before them all, and is what they are made of.
DEFAULT_STAGES = ("graph", "int8", "native")
OPTIONAL_STAGES = ("fp16", "ort")
# Changes within a stage that can be left out one by one.
GRAPH_PASSES: tuple[str, ...] = (
    "constants",
    "transposes",
    "scale",
    "first_token",
    "qkv",
    "mask",
    "attention",
)
INT8_PASSES: tuple[str, ...] = ("smooth", "exact_weights", "row_scales")

logger = logging.getLogger(__name__)


@dataclass
class StageRecord:
    """What a stage did, for the report.

    Attributes:
        name: of the stage.
        status: `done`, or `skipped` (by `--skip`).
        seconds: it took.
        details: what it found and changed, by the stage's own keys.
    """

    name: str
    status: str = "done"
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Stages:
    """Which stages and passes run, and the records of those that ran.

    Attributes:
        skip: names of stages and passes that are left out.
        also: names of optional stages that run.
        records: in the order in which the stages ran.
    """

    skip: Collection[str] = ()
    also: Collection[str] = ()
    records: list[StageRecord] = field(default_factory=list)

    def wanted(self, name: str) -> bool:
        """Tell whether a stage runs; one that is left out gets its record here."""
        if name in OPTIONAL_STAGES:
            return name in self.also
        if name not in self.skip:
            return True
        self.records.append(StageRecord(name, "skipped"))
        return False

    @contextmanager
    def run(self, name: str) -> Iterator[StageRecord]:
        """Time a stage and keep its record, to which the stage adds its details."""
        logger.info("%s ...", name)
        record = StageRecord(name)
        self.records.append(record)
        start = time.perf_counter()
        try:
            yield record
        finally:
            record.seconds = round(time.perf_counter() - start, 2)


def check_skip(names: Sequence[str]) -> None:
    """Raise `UserError` for a stage or pass that does not exist, or that no export can do without."""
    known = (*DEFAULT_STAGES, *GRAPH_PASSES, *INT8_PASSES)
    for name in names:
        if name in OPTIONAL_STAGES:
            raise UserError(f"--skip {name}: this stage runs only if --also asks for it")
        if name == "onnx":
            raise UserError("--skip onnx: all other stages are made of its file")
        if name not in known:
            raise UserError(
                f"--skip {name} is not one of {', '.join(known)}{did_you_mean(name, known)}"
            )


def check_also(names: Sequence[str]) -> None:
    """Raise `UserError` for an optional stage that does not exist."""
    for name in names:
        if name not in OPTIONAL_STAGES:
            raise UserError(
                f"--also {name} is not one of {', '.join(OPTIONAL_STAGES)}"
                f"{did_you_mean(name, OPTIONAL_STAGES)}"
            )
