"""An ONNX Runtime session with the requested provider and as many threads as the container has cores."""

import mmap
from itertools import count
from pathlib import Path

import numpy as np
import onnxruntime as ort

from trainer_ext.cores import available_cores
from trainer_ext.data.preprocessing.batch import Arrays, Batch
from trainer_ext.inference.hardware import instruction_set, int8_saturates
from trainer_ext.inference.huge_pages import NewMemory
from trainer_ext.inference.providers import open_on

# Every operator that takes its activation scales from the run's own values has a name that begins like this.
DYNAMIC_INT8 = b"DynamicQuantize"
# `export.py` writes it into the metadata of a file none of whose 8-bit products can overflow 16 bits.
EXACT_MARK = "trainer_ext.exact_without_vnni"
METADATA_BYTES = 1 << 16
# Runs before the session's memory moves to large pages: that takes about as long as these runs, and a few texts are
# answered sooner without.
RUNS_BEFORE_HUGE_PAGES = 64


class OnnxSession:
    """Run one ONNX file.

    Dynamic INT8 scales activations by the largest value of the whole run, so a text's answer would depend on the texts
    beside it. Such a model takes one text a run, and several threads call it, each on a core of its own (measured on
    two cores: two callers are 1.92 times as fast as one, one run on two threads 1.52 times).

    Args:
        path: the model.
        num_threads: threads of one run, or for dynamic INT8 the number of callers; None: the cores this process may
            use.
        provider: `tensorrt`, `cuda`, `openvino` or `cpu` (an error if it is not available), or `auto`: the first of
            these that is there. Dynamic INT8 runs on the CPU.
        dynamic_int8: whether the file scales activations at run time; None: look for such operators in it.

    Raises:
        UserError: if the file cannot be loaded, or not on that provider.
    """

    native_target = ""

    def __init__(
        self,
        path: Path,
        num_threads: int | None = None,
        provider: str = "auto",
        dynamic_int8: bool | None = None,
    ):
        if dynamic_int8 is None:
            dynamic_int8 = scales_at_run_time(path)
        threads = num_threads or available_cores()
        self.file_name = path.name
        self.batch_invariant = not dynamic_int8
        self.parallel_runs = 1
        if dynamic_int8:
            self.parallel_runs = threads
            threads = 1
        self._runs = count(1)
        self._memory = NewMemory()
        options = session_options(threads, is_exact=dynamic_int8 and is_marked_exact(path))
        self._session, self.provider = open_on(path, options, provider, dynamic_int8)
        self.input_names = [item.name for item in self._session.get_inputs()]
        self.output_names = [item.name for item in self._session.get_outputs()]

    def run(self, batch: Batch) -> Arrays:
        """Return the outputs (B, ...) by name."""
        inputs = batch.padded()
        # The graph may have inputs that the tokenizer does not make (token_type_ids): they are 0 for a single text.
        zeros = np.zeros_like(inputs["input_ids"])
        feed = {name: inputs.get(name, zeros) for name in self.input_names}
        arrays = self._session.run(None, feed)
        # Of several callers one counts to this number.
        if next(self._runs) == RUNS_BEFORE_HUGE_PAGES:
            self._memory.use_huge_pages()
        return dict(zip(self.output_names, arrays, strict=True))


def session_options(threads: int, is_exact: bool = False) -> ort.SessionOptions:
    """Return the options of every session, in the gate as in prediction.

    Args:
        threads: of one run.
        is_exact: whether the file's 8-bit products are exact on every CPU.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    # Threads that spin while they wait take the cores of the thread that they wait for, where others work too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The fused operator is slower than Add + LayerNormalization on CPUs, several times so for INT8.
    options.add_session_config_entry(
        "optimization.disable_specified_optimizers", "SkipLayerNormFusion"
    )
    if int8_saturates(instruction_set()) and not is_exact:
        # Weights become unsigned on loading: slower by a sixth, and the answers are those of a CPU with VNNI.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def is_marked_exact(path: Path) -> bool:
    """Tell whether an ONNX file says that its 8-bit products are exact on every CPU."""
    with open(path, "rb") as file:
        # Metadata comes last, behind the weights.
        file.seek(max(0, path.stat().st_size - METADATA_BYTES))
        return EXACT_MARK.encode() in file.read()


def scales_at_run_time(path: Path) -> bool:
    """Tell whether an ONNX file quantises activations with scales taken from the run's own values."""
    if not path.stat().st_size:
        return False  # mmap refuses an empty file; loading it gives the better error
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Operators come before the weights, so they are found early; only a float model is read to its end.
        with content:
            return content.find(DYNAMIC_INT8) >= 0
