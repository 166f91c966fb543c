"""An export that answers on this machine as it was proven, or its float model instead."""

from collections.abc import Callable, Mapping
from pathlib import Path

from trainer_ext.errors import UserError
from trainer_ext.inference.folder import (
    note_once,
    read_report,
    warn_of_other_machine,
    warn_once,
)
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.layout import find_file, name_in_report
from trainer_ext.inference.probe import Mismatch, Probe, read_probe
from trainer_ext.inference.single import SinglePredictor

ON_MISMATCH = ("float", "error", "ignore")
FLOAT_VARIANT = "onnx"
FLOAT_FILE = "model.onnx"
# Of a folder whose report does not say, or has gone.
VARIANTS = {
    FLOAT_FILE: FLOAT_VARIANT,
    "model_quantized.onnx": "int8",
    "model_fp16.onnx": "fp16",
    "model.ort": "ort",
}

# From a file, and a provider or None for the one that was asked for.
Load = Callable[[Path, str | None], SinglePredictor]


def load_proven(folder: Path, file: Path, load: Load, on_mismatch: str) -> SinglePredictor:
    """Load a file, run the folder's probe rows through it, and see to it that the answers are those proven.

    Args:
        folder: of the export; one without a probe is loaded unchecked.
        file: in it.
        load: makes a predictor of a file.
        on_mismatch: `float`: answer with model.onnx, and say so; `error`: refuse; `ignore`: say so, and go on.

    Raises:
        UserError: if the probe is damaged, if the answers differ and `on_mismatch` is `error`, or if the float model's
            differ as well.
    """
    predictor = load(file, None)
    probe = read_probe(folder)
    variant = variant_of(folder, file)
    if probe is None or not probe.covers(variant):
        warn_of_other_machine(folder)
        return predictor
    mismatch = probe.check(predictor, variant)
    if mismatch is None:
        return predictor
    finding = describe(folder, predictor, mismatch)
    if on_mismatch == "error":
        raise UserError(f"{finding}; --on_mismatch float answers with the float model")
    if on_mismatch == "ignore":
        warn_once(f"{finding}; they are given all the same (--on_mismatch ignore)")
        return predictor
    loaded = load_float(folder, file, predictor, load, probe)
    if loaded is None:
        raise UserError(f"{finding}, and there is no float model that answers as proven")
    warn_once(f"{finding}; the float model answers instead ({loaded.description})")
    return loaded


def accept_native(
    folder: Path, file: Path, predictor: SinglePredictor, is_needed: bool
) -> SinglePredictor | None:
    """Return the native runtime's predictor if it answers the probe rows as was proven; else None, and a note.

    Args:
        folder: of the export; one without a probe is taken unchecked.
        file: the INT8 file.
        predictor: of the native runtime.
        is_needed: whether the user asked for no other runtime.

    Raises:
        UserError: if it does not, and `is_needed`, or if the probe is damaged.
    """
    probe = read_probe(folder)
    variant = variant_of(folder, file)
    if probe is None or not probe.covers(variant):
        return predictor
    mismatch = probe.check(predictor, variant)
    if mismatch is None:
        return predictor
    finding = describe(folder, predictor, mismatch)
    if is_needed:
        raise UserError(f"{finding}; --runtime auto takes ONNX Runtime instead")
    note_once(f"{finding}; ONNX Runtime runs it instead")
    return None


def load_float(
    folder: Path,
    file: Path,
    failed: SinglePredictor,
    load: Load,
    probe: Probe,
) -> SinglePredictor | None:
    """Return a predictor of the float model that answers as proven; None if there is none.

    Args:
        folder: of the export.
        file: that answered otherwise; it may be the float model on a GPU.
        failed: its predictor.
        load: makes a predictor of a file.
        probe: of the folder.
    """
    float_file = find_file(folder, FLOAT_FILE)
    if not float_file.is_file():
        return None
    variant = variant_of(folder, float_file)
    # A GPU may answer otherwise where the CPU does not.
    for provider in (None, "cpu"):
        if float_file == file and provider is None:
            continue
        if float_file == file and failed.session.provider == "cpu":
            continue
        predictor = load(float_file, provider)
        if not probe.covers(variant) or probe.check(predictor, variant) is None:
            return predictor
    return None


def describe(folder: Path, predictor: SinglePredictor, mismatch: Mismatch) -> str:
    """Say what answers otherwise, where, and by how much."""
    return (
        f"{folder.name}: the answers differ on this machine ({instruction_set()}) from those proven: "
        f"{predictor.description} {mismatch}"
    )


def variant_of(folder: Path, file: Path) -> str:
    """Return the name under which the report has a file; without a report that of files called so."""
    variants = read_report(folder).get("variants")
    name = name_in_report(file)
    if isinstance(variants, list):
        for variant in variants:
            if isinstance(variant, Mapping) and variant.get("file") == name:
                return str(variant.get("name"))
    return VARIANTS.get(file.name, file.stem)
