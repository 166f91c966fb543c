"""Every model that was measured in one table and one picture: chains of compression and exports, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer_ext.compression.chain_report import REPORT, StageRow
from trainer_ext.errors import UserError
from trainer_ext.files import read_object

EXPORT_REPORT = "export_report.json"


def read_measured(folder: Path) -> tuple[str, list[StageRow]]:
    """Return the metric's name and the rows of a chain, or of the variants of an export.

    Raises:
        UserError: if the folder has neither report, or one that cannot be read.
    """
    chain = folder / f"{REPORT}.json"
    path = chain if chain.is_file() else folder / EXPORT_REPORT
    if not path.is_file():
        raise UserError(f"{folder} has neither {REPORT}.json nor {EXPORT_REPORT}")
    report = read_object(path)
    try:
        if path == chain:
            return report["metric_name"], [StageRow(**row) for row in report["stages"]]
        return report["metric_name"], [row_of_variant(folder, row) for row in report["variants"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a report of this project: {error}") from error


def row_of_variant(folder: Path, variant: dict[str, Any]) -> StageRow:
    """Return a file of an export as a row; its parameters are not recorded."""
    return StageRow(
        name=variant["name"],
        folder=str(folder),
        bytes=variant["bytes"],
        metric=variant["metric"],
        parameters=None,
        latency_ms_p50=variant["latency_ms_p50"] or None,
    )


def gather(folders: Sequence[Path]) -> tuple[str, dict[str, list[StageRow]]]:
    """Return the metric's name, and the rows by folder.

    Raises:
        UserError: for folders whose metrics differ, which no picture compares.
    """
    found: dict[str, list[StageRow]] = {}
    names: dict[str, Path] = {}
    for folder in folders:
        metric_name, rows = read_measured(folder)
        names.setdefault(metric_name, folder)
        found[str(folder)] = rows
    if len(names) > 1:
        shown = ", ".join(f"{name} in {folder}" for name, folder in names.items())
        raise UserError(f"the folders are measured by different metrics: {shown}")
    return next(iter(names)), found
