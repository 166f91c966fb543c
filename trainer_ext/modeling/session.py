"""Runs a checkpoint with torch, behind the same interface as an ONNX file."""

import os
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from trainer_ext.cores import available_cores
from trainer_ext.errors import UserError, describe_error
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.model import EncoderWithHead
from trainer_ext.modeling.own_code import read_config


class TorchSession:
    """A checkpoint in evaluation mode, float32, on the GPU when there is one.

    Args:
        folder: written by `train.py`.
        num_threads: None: no more than the cores this process may use.
        provider: `auto`, `cpu` or `cuda`.
        trust_remote_code: whether code that the folder brings may be run.
    """

    file_name = "model.safetensors"
    batch_invariant = True
    parallel_runs = 1

    def __init__(
        self,
        folder: Path,
        num_threads: int | None = None,
        provider: str = "auto",
        trust_remote_code: bool = False,
    ):
        if provider == "cuda" and not torch.cuda.is_available():
            raise UserError("provider cuda is not there: torch sees no CUDA device")
        self.provider = "cuda" if provider != "cpu" and torch.cuda.is_available() else "cpu"
        use_available_cores(num_threads)
        self.model = load_checkpoint(folder, trust_remote_code).to(self.provider).eval()
        self._try_out(folder)

    def _try_out(self, folder: Path) -> None:
        """Run a few tokens: some values of a damaged config are only read then.

        Raises:
            UserError: when that fails.
        """
        token = np.zeros((1, 3), np.int64)
        try:
            self.run({"input_ids": token, "attention_mask": token + 1})
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise UserError(
                f"model {folder} cannot be run: {describe_error(error)}; is its config.json damaged?"
            ) from error

    @torch.inference_mode()
    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`logits` (B, *head_shape), and `token_logits` (B, L, tags) where there is such a head, of int64 (B, L)."""
        tensors = {
            name: torch.from_numpy(array).to(self.provider) for name, array in inputs.items()
        }
        return {name: value.float().cpu().numpy() for name, value in self.model(**tensors).items()}


def use_available_cores(num_threads: int | None = None) -> None:
    """Give torch `num_threads`, or as many as this process may use; OMP_NUM_THREADS, where it is set, stays.

    torch counts the machine's cores; in a container with fewer its threads would wait for each other, dozens of times
    longer than they work.
    """
    if num_threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(num_threads or min(torch.get_num_threads(), available_cores()))


def load_checkpoint(folder: Path, trust_remote_code: bool = False) -> EncoderWithHead:
    """The model in a folder, complete and in float32.

    Raises:
        UserError: when weights are unreadable, or some are missing or have other shapes than the config says.
    """
    try:
        config = read_config(folder, trust_remote_code)
        check_depth(folder, config)
        model, info = EncoderWithHead.from_pretrained(
            folder,
            config=config,
            own_code=trust_remote_code,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except UserError:
        raise
    except (
        Exception
    ) as error:  # safetensors, OSError, ValueError, RuntimeError: each for another kind of damage
        raise UserError(f"model {folder} cannot be loaded: {describe_error(error)}") from error
    absent = sorted(
        [*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])]
    )
    if absent:
        raise UserError(
            f"model {folder}: its weights do not fit its config: {', '.join(absent[:5])}"
        )
    return model


def check_depth(folder: Path, config: EncoderWithHeadConfig) -> None:
    """Raise `UserError` for more layers than there are weights: building them would take all memory there is."""
    layers = getattr(config.encoder, "num_hidden_layers", 0)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        tensors = len(file.keys())
    if layers > tensors:
        raise UserError(
            f"model {folder}: its config has {layers} layers, but its weights are {tensors} tensors"
        )
