"""An export's files into its folder, which answers only when it is whole: as it was, or as it is now."""

import os
from collections.abc import Iterable
from pathlib import Path

MARK = "config.json"  # prediction takes no folder without it: removed first, written last
TOKENIZER_FILES = (
    *(
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
    ),
    *(
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tokenizer.model",
    ),
)
# What an earlier export may have left that a new one does not write: it would be read beside the new files.
OF_AN_EXPORT = (
    "model.onnx",
    "model.onnx_data",
    "model_quantized.onnx",
    "export_report.json",
    *TOKENIZER_FILES,
)


def publish(stage: Path, folder: Path, replaced: Iterable[Path] = ()) -> None:
    """Move the files of `stage` into `folder`; a kill at any point leaves a folder that is refused.

    `replaced`: other folders that are made unusable with it, since they belong to the export that this one replaces.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder, *replaced):
        make_unusable(path)
    names = {path.name for path in stage.iterdir()}
    for name in set(OF_AN_EXPORT) - names:
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: name == MARK):
        os.replace(stage / name, folder / name)


def make_unusable(folder: Path) -> None:
    """Take away what prediction requires, of one model or (cv.json has an ensemble's weights) of several."""
    for name in (MARK, "export_report.json", "cv.json", "oof.csv"):
        (folder / name).unlink(missing_ok=True)
