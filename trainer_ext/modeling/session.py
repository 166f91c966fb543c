"""Runs a checkpoint with torch, behind the same interface as an ONNX file."""

from pathlib import Path

import numpy as np
import torch

from trainer_ext.errors import UserError
from trainer_ext.modeling.model import EncoderWithHead


class TorchSession:
    """A checkpoint in evaluation mode, float32, on the GPU when there is one.

    Args:
        folder: written by `train.py`.
        num_threads: None leaves torch's setting.
        provider: `auto`, `cpu` or `cuda`.
    """

    file_name = "model.safetensors"
    one_text_a_run = False
    callers = 1

    def __init__(self, folder: Path, num_threads: int | None = None, provider: str = "auto"):
        if provider == "cuda" and not torch.cuda.is_available():
            raise UserError("provider cuda is not there: torch sees no CUDA device")
        self.provider = "cuda" if provider != "cpu" and torch.cuda.is_available() else "cpu"
        if num_threads:
            torch.set_num_threads(num_threads)
        self.model = load_checkpoint(folder).to(self.provider).eval()

    @torch.inference_mode()
    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`logits` (B, *head_shape), and `token_logits` (B, L, tags) where there is such a head, of int64 (B, L)."""
        tensors = {name: torch.from_numpy(array).to(self.provider) for name, array in inputs.items()}
        return {name: value.float().cpu().numpy() for name, value in self.model(**tensors).items()}


def load_checkpoint(folder: Path) -> EncoderWithHead:
    """The model in a folder, complete and in float32.

    Raises:
        UserError: when weights are unreadable, or some are missing or have other shapes than the config says.
    """
    try:
        model, info = EncoderWithHead.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # safetensors, OSError, ValueError, RuntimeError: each for another kind of damage
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"model {folder} cannot be loaded: {reason}") from error
    absent = sorted([*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])])
    if absent:
        raise UserError(f"model {folder}: its weights do not fit its config: {', '.join(absent[:5])}")
    return model
