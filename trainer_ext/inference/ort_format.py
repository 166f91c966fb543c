"""The same graph, optimised ahead of time for one CPU (`.ort`): it loads faster, where it was made and nowhere else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.layout import find_file, model_folder, name_in_report

SUFFIX = ".ort"
VARIANT = "ort"


def prepared_file(file: Path, report: Mapping[str, Any]) -> Path:
    """Return the file to load in place of `file`: the one prepared for this CPU if there is one, else itself.

    Args:
        file: the portable ONNX file.
        report: the folder's export report.
    """
    if not is_made_here(report):
        return file
    name = Path(name_in_report(file)).with_suffix(SUFFIX).as_posix()
    for variant in report.get("variants", []):
        is_it = variant.get("name") == VARIANT and variant.get("file") == name
        if not is_it or not variant.get("good"):
            continue
        prepared = find_file(model_folder(file), name)
        # A file of another size is not the one that was proven.
        if prepared.is_file() and prepared.stat().st_size == variant.get("bytes"):
            return prepared
    return file


def is_made_here(report: Mapping[str, Any]) -> bool:
    """Tell whether an export was made with the instructions and the ONNX Runtime that are here."""
    versions = report.get("versions")
    if not isinstance(versions, Mapping):
        return False
    is_same_version = versions.get("onnxruntime") == onnxruntime.__version__
    return is_same_version and report.get("instruction_set") == instruction_set()
