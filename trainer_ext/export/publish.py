"""Put an export's files into its folder, which answers only when it is complete: as it was, or as it is now."""

import os
from collections.abc import Iterable
from pathlib import Path

# Prediction refuses a folder without it: removed first, written last.
LAST_FILE = "config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
# Files of an earlier export that a new one may not write: they would be read together with the new ones.
EXPORT_FILES = (
    "model.onnx",
    "model.onnx_data",
    "model_quantized.onnx",
    "export_report.json",
    *TOKENIZER_FILES,
)
# What prediction needs of one model, or (the weights of an ensemble) of several.
REQUIRED_FILES = (LAST_FILE, "export_report.json", "cv.json", "oof.csv")


def publish(stage: Path, folder: Path, replaced: Iterable[Path] = ()) -> None:
    """Move the files of `stage` into `folder`; if the process is killed, the folder is refused, not half new.

    Args:
        stage: has the new files.
        folder: may have those of an earlier export.
        replaced: other folders of the earlier export, which become unusable with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_unusable(folder)
    for other in replaced:
        make_unusable(other)
    names = {path.name for path in stage.iterdir()}
    for name in EXPORT_FILES:
        if name not in names:
            (folder / name).unlink(missing_ok=True)
    for name in sorted(names - {LAST_FILE}):
        os.replace(stage / name, folder / name)
    os.replace(stage / LAST_FILE, folder / LAST_FILE)


def make_unusable(folder: Path) -> None:
    """Remove the files without which prediction refuses a folder."""
    for name in REQUIRED_FILES:
        (folder / name).unlink(missing_ok=True)
