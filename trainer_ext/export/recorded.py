"""The checkpoint that an export was made of, as its report names it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer_ext.files import file_sha256
from trainer_ext.inference.folder import WEIGHTS


class RecordedCheckpoint(NamedTuple):
    """Where a checkpoint is.

    Attributes:
        folder: None if it cannot be used.
        why: why not.
    """

    folder: Path | None
    why: str


def recorded_checkpoint(report: Mapping[str, Any]) -> RecordedCheckpoint:
    """Return the checkpoint that was exported, if it is where it was and has not changed since."""
    recorded = report.get("checkpoint")
    if not recorded or not (Path(recorded) / WEIGHTS).is_file():
        return RecordedCheckpoint(None, "the checkpoint is not here")
    if file_sha256(Path(recorded) / WEIGHTS) != report.get("checkpoint_sha256"):
        return RecordedCheckpoint(None, "the checkpoint has changed since")
    return RecordedCheckpoint(Path(recorded), "")
