"""A checkpoint to ONNX, with dynamic batch and length: through Optimum where it can, else through torch alone."""

import logging
import shutil
from pathlib import Path
from typing import NamedTuple

from transformers import PretrainedConfig, PreTrainedModel

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.data.preprocessing.plain_checkpoint import is_plain
from trainer_ext.errors import UserError, describe_error
from trainer_ext.export.exported import exported_config
from trainer_ext.export.publish import TOKENIZER_FILES
from trainer_ext.files import read_json
from trainer_ext.modeling.plain import plain_tokenizer

ONNX_FILE = "model.onnx"

logger = logging.getLogger(__name__)


class OnnxExport(NamedTuple):
    """An exported file, which exporter wrote it, and why it was this one."""

    path: Path
    exporter: str
    why: str


def export_onnx(
    model: PreTrainedModel,
    folder: Path,
    pipeline: Pipeline | None = None,
    exporter: str = "auto",
) -> OnnxExport:
    """Write model.onnx and config.json into `folder`.

    The config is the *encoder's*, with our head's labels and pipeline added: plain transformers and Optimum read it.
    A model beyond 2 GB has its weights in model.onnx_data, beside it.

    Args:
        model: of a checkpoint of ours, or a plain classifier.
        folder: gets the files.
        pipeline: of a plain classifier, which does not bring one.
        exporter: `optimum`, `torch`, or `auto`: Optimum if it is installed and knows the encoder, else torch.

    Raises:
        UserError: if the exporter is not installed, or cannot export this encoder.
    """
    path = folder / ONNX_FILE
    config = exported_config(model, pipeline)
    model.train(False)
    used, why = run_exporter(model, config, path, exporter)
    config.save_pretrained(folder)
    logger.info("exported by %s: %s", used, why)
    return OnnxExport(path, used, why)


def run_exporter(
    model: PreTrainedModel,
    config: PretrainedConfig,
    path: Path,
    exporter: str,
) -> tuple[str, str]:
    """Write `path` with the exporter that was asked for.

    Returns:
        Which exporter it was, and why.

    Raises:
        UserError: if it is not installed, or cannot export this encoder; of `auto` if neither can.
    """
    if exporter == "optimum":
        use_optimum(model, config, path)
        return "optimum", "asked for by --exporter"
    if exporter == "torch":
        use_torch(model, config, path)
        return "torch", "asked for by --exporter"
    try:
        use_optimum(model, config, path)
        return "optimum", "Optimum is installed and knows the encoder"
    except UserError as error:
        why = str(error)
    try:
        use_torch(model, config, path)
    except UserError as error:
        raise UserError(f"{why}; and {error}") from error
    return "torch", why


def use_optimum(model: PreTrainedModel, config: PretrainedConfig, path: Path) -> None:
    """Export through Optimum, or raise `UserError`."""
    try:
        # Here: it may not be installed, or be one that does not go with this version of transformers.
        from trainer_ext.export.with_optimum import export_with_optimum
    except ImportError as error:
        raise UserError(
            "Optimum cannot be used here, which needs pip install 'trainer-ext[optimum]' "
            f"({describe_error(error)})"
        ) from error
    export_with_optimum(model, config, path)


def use_torch(model: PreTrainedModel, config: PretrainedConfig, path: Path) -> None:
    """Export through `torch.onnx.export`, or raise `UserError`."""
    try:
        from trainer_ext.export.with_torch import export_with_torch
    except ImportError as error:
        raise UserError(
            "torch's exporter cannot be used here, which needs pip install 'trainer-ext[onnx]' "
            f"({describe_error(error)})"
        ) from error
    export_with_torch(model, config.pipeline["input_names"], path)


def copy_tokenizer(checkpoint: Path, folder: Path) -> None:
    """Copy the checkpoint's tokenizer files, byte for byte.

    Some tokenizers are not the same when loaded and saved again; and loading one would offer to run code of the folder.
    """
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    if not is_plain(read_json(checkpoint / "config.json")):
        return
    # A plain checkpoint may have its vocabulary in an older form only, or more tokens than embeddings.
    tokenizer, is_changed = plain_tokenizer(checkpoint)
    if is_changed:
        tokenizer.save(str(folder / "tokenizer.json"))
