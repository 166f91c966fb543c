"""What the report of an export says, read again: its variants, and the checkpoint that it was made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer_ext.errors import UserError
from trainer_ext.files import file_sha256, read_json
from trainer_ext.inference.folder import REPORT, WEIGHTS


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


def read_export_report(folder: Path) -> dict[str, Any]:
    """Return the report of an export.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    path = folder / REPORT
    if not path.is_file():
        raise UserError(f"{folder} is not an export: it has no {REPORT}")
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not an export report: expected an object")
    variants = content.get("variants")
    are_variants = isinstance(variants, list) and all(map(is_variant, variants))
    if not are_variants or not isinstance(content.get("chosen"), str):
        raise UserError(f"{path} is not an export report: variants or chosen are missing")
    return content


def is_variant(value: Any) -> bool:
    """Return whether a value from JSON has what is needed of a variant."""
    if not isinstance(value, Mapping):
        return False
    return isinstance(value.get("name"), str) and isinstance(value.get("file"), str)
