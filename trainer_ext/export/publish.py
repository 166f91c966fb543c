"""Put an export's files into its folder, which answers only when it is complete: as it was, or as it is now."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from trainer_ext.errors import UserError
from trainer_ext.inference.layout import HUB_FOLDERS, NATIVE_FOLDER

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
# Files of an earlier export that a new one may not write, in either layout: they would be read together with the new
# ones.
MODEL_FILES = (
    "model.onnx",
    "model.onnx_data",
    "model_quantized.onnx",
    "model_fp16.onnx",
    "model_quantized.ort",
    "required_operators.config",
    "required_operators_and_types.config",
)
EXPORT_FILES = (
    *MODEL_FILES,
    *(f"{below}/{name}" for below in HUB_FOLDERS for name in MODEL_FILES),
    "export_report.json",
    "probe.json",
    f"{NATIVE_FOLDER}/encoder.json",
    f"{NATIVE_FOLDER}/head.onnx",
    "export_report.md",
    "export_report.png",
    "benchmark.json",
    "benchmark.png",
    *TOKENIZER_FILES,
)
# What prediction needs of one model, or (the weights of an ensemble) of several.
REQUIRED_FILES = (LAST_FILE, "export_report.json", "cv.json", "oof.csv")

# A training writes it, an export never does.
RUN_FILE = "resolved_config.yaml"


def check_not_foreign(folder: Path) -> None:
    """Refuse a folder in which an export would replace what is not an export's: a trained model, or somebody's own.

    Raises:
        UserError: naming what is there.
    """
    if (folder / RUN_FILE).exists():
        raise UserError(
            f"--output_dir {folder} holds a training ({RUN_FILE}), whose files an export would replace: give "
            "another folder"
        )
    # An export that was cut off has no config.json, whole ones have both.
    if (folder / LAST_FILE).exists() and not (folder / "export_report.json").exists():
        raise UserError(
            f"--output_dir {folder} holds {LAST_FILE}, which no export has written (there is no export_report.json): "
            "an export would replace it. Give another folder"
        )


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
    names = files_below(stage)
    for name in EXPORT_FILES:
        # lexists: a link that leads nowhere goes, too.
        if name not in names and os.path.lexists(folder / name):
            (folder / name).unlink()
    for name in sorted(names - {LAST_FILE}):
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(stage / name, folder / name)
    for below in (*HUB_FOLDERS, NATIVE_FOLDER):
        # One that holds files of others stays.
        with suppress(OSError):
            (folder / below).rmdir()
    os.replace(stage / LAST_FILE, folder / LAST_FILE)


def files_below(folder: Path) -> set[str]:
    """Return the names of all files of a folder, with the folders below it that they lie in."""
    names = set()
    for path in folder.rglob("*"):
        if path.is_file():
            names.add(path.relative_to(folder).as_posix())
    return names


def make_unusable(folder: Path) -> None:
    """Remove the files without which prediction refuses a folder."""
    for name in REQUIRED_FILES:
        (folder / name).unlink(missing_ok=True)
