"""Two layouts of an exported folder: everything side by side, or models in the folders that the Hub's tools read."""

import os
from collections.abc import Iterable
from pathlib import Path

from trainer_ext.export.gate import Variant
from trainer_ext.export.options import LAYOUTS
from trainer_ext.files import read_json
from trainer_ext.inference.layout import ONNX_FOLDER

FLAT, HUB = LAYOUTS
# Of the file names that belong below the folder of a model in the layout `hub`. Weights outside the graph
# (`model.onnx_data`) are found by their name beside it, so both move together.
PLACES = {
    "*.onnx": ONNX_FOLDER,
    "*.onnx_data": ONNX_FOLDER,
    "*.ort": ONNX_FOLDER,
    "*.config": ONNX_FOLDER,
}


def arrange(stage: Path, variants: Iterable[Variant], layout: str) -> None:
    """Move a filled folder's models to where `layout` has them, and name them so in the variants.

    Args:
        stage: has the files of an export, side by side.
        variants: of its report, whose `file` is a name in `stage` (of PyTorch: in the checkpoint).
        layout: `flat` (nothing is done) or `hub`.
    """
    if layout == FLAT:
        return
    moved = {}
    for pattern, below in PLACES.items():
        # A list: the folder is changed while it is read.
        for path in sorted(stage.glob(pattern)):
            (stage / below).mkdir(exist_ok=True)
            os.replace(path, stage / below / path.name)
            moved[path.name] = f"{below}/{path.name}"
    for variant in variants:
        variant.file = moved.get(variant.file, variant.file)


def notes_on(folder: Path, layout: str) -> list[str]:
    """Return what the Hub's tools do otherwise than this project with the model in a folder.

    The BPE of transformers.js knows no prefix for the pieces within a word (`##`), which vocabularies of
    `--from_scratch` have. It gives no error, but other token ids.
    """
    if layout == FLAT:
        return []
    model = read_json(folder / "tokenizer.json")["model"]
    prefix = model.get("continuing_subword_prefix")
    if model["type"] != "BPE" or not prefix:
        return []
    return [
        f"transformers.js does not know the prefix {prefix} of this tokenizer (BPE): it splits words otherwise, "
        "and the model would answer otherwise there"
    ]
