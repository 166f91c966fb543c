"""Where a file of an export lies: beside config.json, or in the folders where the Hub's tools look for it."""

from pathlib import Path

# transformers.js and Optimum look for model files here.
ONNX_FOLDER = "onnx"
HUB_FOLDERS = (ONNX_FOLDER,)
# What the native runtime needs beside the INT8 file, in either layout.
NATIVE_FOLDER = "native"


def find_file(folder: Path, name: str) -> Path:
    """Return the path of one of a model's files, by its name in either layout.

    Args:
        folder: of the model.
        name: `model.onnx` or `onnx/model.onnx`.

    Returns:
        The file. If it is in neither place: where it would be in a flat folder, for messages.
    """
    flat = folder / name
    if flat.is_file():
        return flat
    for below in HUB_FOLDERS:
        nested = folder / below / name
        if nested.is_file():
            return nested
    return flat


def model_folder(file: Path) -> Path:
    """Return the folder of the model that a file belongs to: the one with its config and its report."""
    folder = file.parent
    # A flat folder may be called `onnx`, too.
    if folder.name in HUB_FOLDERS and not (folder / "config.json").is_file():
        return folder.parent
    return folder


def name_in_report(file: Path) -> str:
    """Return the name by which an export report knows a file: `model.onnx`, or `onnx/model.onnx`."""
    return file.relative_to(model_folder(file)).as_posix()
