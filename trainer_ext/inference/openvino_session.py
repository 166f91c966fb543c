"""An OpenVINO model behind the interface of every session; needs the extra `openvino`."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.cores import available_cores
from trainer_ext.errors import UserError, describe_error
from trainer_ext.inference.session import Arrays


class OpenvinoSession:
    """Run an `openvino_model.xml` on the CPU.

    Its INT8 is static: activations have scales that were fixed when it was made, so that no answer depends on what else
    is in the batch. Several callers share the model, each with a request and a stream (a core) of its own.

    Args:
        path: the .xml file; the weights lie beside it.
        num_threads: None: the cores this process may use.
        provider: `auto` or `cpu`.

    Raises:
        UserError: if the package is missing, the file cannot be loaded, or another provider is asked for.
    """

    provider = "openvino"
    batch_invariant = True

    def __init__(self, path: Path, num_threads: int | None = None, provider: str = "auto"):
        if provider not in ("auto", "cpu"):
            raise UserError(
                f"provider {provider} is one of ONNX Runtime; runtime openvino runs {path.name} on the CPU"
            )
        self.file_name = path.name
        self.parallel_runs = num_threads or available_cores()
        self._model = compile_model(path, self.parallel_runs)
        self.input_names = [port.get_any_name() for port in self._model.inputs]
        self.output_names = [port.get_any_name() for port in self._model.outputs]
        self._local = threading.local()

    def run(self, inputs: Arrays) -> Arrays:
        """Return the outputs (B, ...) by name of int64 arrays (B, L) by input name."""
        # The graph may have inputs that the tokenizer does not make (token_type_ids): they are 0 for a single text.
        zeros = np.zeros_like(inputs["input_ids"])
        feed = {name: inputs.get(name, zeros) for name in self.input_names}
        request = self._request()
        request.infer(feed)
        outputs = {}
        for position, name in enumerate(self.output_names):
            # A copy: the request writes its next outputs into the same memory.
            outputs[name] = request.get_output_tensor(position).data.copy()
        return outputs

    def _request(self) -> Any:
        """Return this thread's request: two threads must not run the same one."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._model.create_infer_request()
            self._local.request = request
        return request


def compile_model(path: Path, threads: int) -> Any:
    """Read and compile a model for as many callers as `threads`; `UserError` if that is not possible."""
    try:
        import openvino
    except ImportError as error:
        raise UserError(
            f"runtime openvino needs the package openvino: pip install -e .[openvino] ({error})"
        ) from error
    settings = {
        # Else bfloat16 where the CPU has it, with other answers than on a CPU that has not.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
    }
    try:
        return openvino.Core().compile_model(path, "CPU", settings)
    except (
        Exception
    ) as error:  # OpenVINO raises RuntimeError for everything, and its bindings TypeError
        raise UserError(f"{path} cannot be loaded: {describe_error(error)}") from error
