"""An ONNX Runtime session with the provider asked for and threads that fit the container."""

import mmap
from pathlib import Path

import numpy as np
import onnxruntime as ort

from trainer_ext.cores import available_cores
from trainer_ext.errors import UserError, describe_error
from trainer_ext.inference.hardware import instruction_set, int8_saturates

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
DYNAMIC_INT8 = b"DynamicQuantize"  # what the names of the operators begin with that scale activations at run time


class OnnxSession:
    """Runs one ONNX file.

    INT8 activations have one scale a run, so a text's answer would depend on the texts beside it: an INT8 model takes
    one text a run, and several threads call it, each on a core of its own (two on two cores: 1.92 times one; one run on
    two threads: 1.52 times).

    Args:
        path: the model.
        num_threads: threads for one run, or for INT8 callers at a time; None: the cores this process may use.
        provider: `cpu`, `cuda` (an error when it is not there) or `auto` (cuda when there, for a float model).
    """

    def __init__(self, path: Path, num_threads: int | None = None, provider: str = "auto"):
        threads = num_threads or available_cores()
        self.file_name = path.name
        self.one_text_a_run = scales_at_run_time(path)
        self.callers = threads if self.one_text_a_run else 1
        self.provider = choose_provider(provider, quantised=self.one_text_a_run)
        options = session_options(1 if self.one_text_a_run else threads)
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=[PROVIDERS[self.provider]]
            )
        except Exception as error:  # onnxruntime raises its own types, one per cause
            raise UserError(f"{path} cannot be loaded: {describe_error(error)}") from error
        if PROVIDERS[self.provider] not in self._session.get_providers():
            raise UserError(
                f"{path}: onnxruntime fell back from {self.provider} to {self._session.get_providers()}"
            )
        self.input_names = [item.name for item in self._session.get_inputs()]
        self.output_names = [item.name for item in self._session.get_outputs()]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs (B, ...) by name of int64 arrays (B, L) by input name; the file's other inputs are zeros."""
        zeros = np.zeros_like(inputs["input_ids"])
        arrays = self._session.run(
            None, {name: inputs.get(name, zeros) for name in self.input_names}
        )
        return dict(zip(self.output_names, arrays, strict=True))


def session_options(threads: int) -> ort.SessionOptions:
    """The options of every session, in the gate as in prediction."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores of the thread that they wait for, where others work too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The fused operator is slower than Add + LayerNormalization on CPUs, several times so for INT8.
    options.add_session_config_entry(
        "optimization.disable_specified_optimizers", "SkipLayerNormFusion"
    )
    if int8_saturates(instruction_set()):
        # Weights become unsigned on loading: slower by a sixth, and the answers are those of a CPU with VNNI.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def scales_at_run_time(path: Path) -> bool:
    """Whether an ONNX file quantises activations with scales taken from the run's own values."""
    if not path.stat().st_size:  # nothing to map
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return (
            content.find(DYNAMIC_INT8) >= 0
        )  # operators stand before the weights: found early, if at all


def choose_provider(provider: str, quantised: bool) -> str:
    """`cpu` or `cuda`.

    Raises:
        UserError: for cuda where onnxruntime has none, or with an INT8 model, whose operators only CPUs have.
    """
    if provider not in (*PROVIDERS, "auto"):
        raise UserError(f"provider {provider!r} is none of auto, {', '.join(PROVIDERS)}")
    has_cuda = PROVIDERS["cuda"] in ort.get_available_providers()
    if provider == "cuda" and quantised:
        raise UserError("provider cuda cannot run the INT8 model: use model.onnx, or provider cpu")
    if provider == "cuda" and not has_cuda:
        raise UserError(
            f"provider cuda is not there: onnxruntime offers {', '.join(ort.get_available_providers())}"
        )
    if provider == "auto":
        return "cuda" if has_cuda and not quantised else "cpu"
    return provider
