"""What runs a batch: ONNX Runtime (`onnx_session.py`), the native encoder (`native/session.py`), or torch for a
checkpoint (`modeling/session.py`).
"""

from typing import Protocol

from trainer_ext.data.preprocessing.batch import Arrays, Batch


class Session(Protocol):
    """A loaded model, and all that a predictor uses of it.

    Attributes:
        file_name: the file that is run, for messages.
        provider: `cpu` or `cuda`.
        batch_invariant: whether a text's outputs are the same whatever else is in its batch. If not, the predictor
            gives every text a run of its own.
        native_target: the kind of CPU that the native encoder was compiled for; empty: another runtime answers.
        parallel_runs: how many threads should call `run` at the same time to use the available cores.
    """

    file_name: str
    provider: str
    batch_invariant: bool
    parallel_runs: int
    native_target: str

    def run(self, batch: Batch) -> Arrays:
        """Return `logits` (B, *head_shape) and the outputs of other heads (B, longest, ...) for B texts."""
