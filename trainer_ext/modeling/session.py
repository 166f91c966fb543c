"""Run a checkpoint with torch, behind the same interface as an ONNX file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel

from trainer_ext.cores import available_cores
from trainer_ext.data.preprocessing.batch import Arrays, Batch
from trainer_ext.data.preprocessing.truncation import Tokens
from trainer_ext.errors import UserError, describe_error
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.model import EncoderWithHead
from trainer_ext.modeling.own_code import read_config
from trainer_ext.modeling.plain import load_plain
from trainer_ext.remote_code import WITH_FLAG, why_not_loaded

OUTPUTS = ("logits", "token_logits", "ood_distance")


class TorchSession:
    """Run a checkpoint in evaluation mode, in float32, on the GPU if there is one.

    Args:
        folder: written by `train.py`, or a classifier that plain transformers saved.
        num_threads: None: no more than the cores this process may use.
        provider: `auto`, `cpu` or `cuda`.
        trust_remote_code: whether code that the folder brings may be run.

    Raises:
        UserError: if the provider is not available, or the folder is damaged.
    """

    file_name = "model.safetensors"
    # float32 outputs do not depend on what else is in the batch, and torch uses all cores for one run.
    batch_invariant = True
    parallel_runs = 1
    native_target = ""

    def __init__(
        self,
        folder: Path,
        num_threads: int | None = None,
        provider: str = "auto",
        trust_remote_code: bool = False,
    ):
        if provider not in ("auto", "cpu", "cuda"):
            raise UserError(
                f"provider {provider} runs exported models only; a checkpoint runs on cpu or cuda"
            )
        has_cuda = torch.cuda.is_available()
        if provider == "cuda" and not has_cuda:
            raise UserError("provider cuda is not available: torch sees no CUDA device")
        self.provider = "cuda" if provider != "cpu" and has_cuda else "cpu"
        use_available_cores(num_threads)
        self.model = load_model(folder, trust_remote_code)
        # The wrapper that transformers puts around `to` hides its `self` from type checkers.
        self.model.to(self.provider)  # type: ignore[arg-type]
        self.model.eval()
        self._try_out(folder)

    def _try_out(self, folder: Path) -> None:
        """Run a few tokens: some values of a damaged config are only read then.

        Raises:
            UserError: if that fails.
        """
        text = Tokens([0, 0, 0], [0, 0, 0])
        try:
            self.run(Batch([text], 0, ("input_ids", "attention_mask")))
        except torch.OutOfMemoryError:
            raise  # says nothing about the config
        except Exception as error:
            raise UserError(
                f"model {folder} cannot be run: {describe_error(error)}; is its config.json damaged?"
            ) from error

    @torch.inference_mode()
    def run(self, batch: Batch) -> Arrays:
        """Return those of `OUTPUTS` that the model has: (B, *head_shape), (B, longest, tags), (B, 1)."""
        tensors = {}
        for name, array in batch.padded().items():
            tensors[name] = torch.from_numpy(array).to(self.provider)
        outputs = {}
        for name, value in self.model(**tensors, return_dict=True).items():
            # Some encoders return their last states, too.
            if name in OUTPUTS:
                outputs[name] = value.float().cpu().numpy()
        return outputs


def use_available_cores(num_threads: int | None = None) -> None:
    """Give torch `num_threads`, or as many as this process may use; OMP_NUM_THREADS, if it is set, decides instead.

    torch counts the machine's cores; in a container with fewer its threads would wait for each other, dozens of times
    longer than they work.
    """
    if num_threads:
        torch.set_num_threads(num_threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))


def load_model(folder: Path, trust_remote_code: bool = False) -> PreTrainedModel:
    """Load the model in a folder: a checkpoint of ours, or a classifier of plain transformers.

    Raises:
        UserError: if weights are unreadable, or some are missing or have other shapes than the config says.
    """
    with loading_errors(folder):
        config = read_config(folder, trust_remote_code)
        if not isinstance(config, EncoderWithHeadConfig):
            check_depth(folder, config)
            return load_plain(folder, config, trust_remote_code)
    return load_checkpoint(folder, trust_remote_code)


def load_checkpoint(folder: Path, trust_remote_code: bool = False) -> EncoderWithHead:
    """Load a checkpoint of ours, complete and in float32.

    Raises:
        UserError: if weights are unreadable, or some are missing or have other shapes than the config says.
    """
    with loading_errors(folder):
        config = read_config(folder, trust_remote_code)
        check_depth(folder, getattr(config, "encoder", None))
        model, info = EncoderWithHead.from_pretrained(
            folder,
            config=config,
            own_code=trust_remote_code,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    # transformers fills such weights with random numbers, and only logs it.
    mismatched = [str(key) for key in info["mismatched_keys"]]
    unfit = sorted([*info["missing_keys"], *info["unexpected_keys"], *mismatched])
    if unfit:
        raise UserError(
            f"model {folder}: its weights do not fit its config: {', '.join(unfit[:5])}"
        )
    loaded: EncoderWithHead = model
    return loaded


@contextmanager
def loading_errors(folder: Path) -> Iterator[None]:
    """Turn what transformers raises for a damaged folder into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # safetensors, OSError, ValueError, RuntimeError: each for other damage.
        reason = why_not_loaded(error, WITH_FLAG)
        raise UserError(f"model {folder} cannot be loaded: {reason}") from error


def check_depth(folder: Path, encoder: PretrainedConfig | None) -> None:
    """Raise `UserError` for more layers than there are weights: building them would take all the memory there is."""
    layers = getattr(encoder, "num_hidden_layers", 0)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        tensors = len(file.keys())
    if layers > tensors:
        raise UserError(
            f"model {folder}: its config has {layers} layers, but its weights are {tensors} tensors"
        )
