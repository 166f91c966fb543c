"""The encoder of an INT8 export in C: the numbers of ONNX Runtime, in about half the time.

`export.py` writes `native/` beside an INT8 file whose encoder it recognises; `setup.py` compiles the library. Where one
of the two is missing, ONNX Runtime runs the same file.
"""

from pathlib import Path

from trainer_ext.errors import UserError
from trainer_ext.inference.native.library import TARGETS, library_here
from trainer_ext.inference.native.plan import read_plan
from trainer_ext.inference.native.session import NativeSession


def open_native(
    file: Path, num_threads: int | None, provider: str, is_needed: bool = False
) -> NativeSession | None:
    """Return a session of the native runtime; None where it cannot run a file.

    Args:
        file: of an export.
        num_threads: how many callers; None: the cores this process may use.
        provider: of ONNX Runtime that was asked for: the native runtime is for `auto` and `cpu`.
        is_needed: whether the user asked for no other runtime.

    Raises:
        UserError: if it cannot, and `is_needed`; or if the plan is damaged.
    """
    reason = ""
    plan = read_plan(file)
    if provider not in ("auto", "cpu"):
        reason = f"provider {provider} is one of ONNX Runtime"
    elif plan is None:
        reason = f"the export has no plan for {file.name}: its encoder was not recognised, or it is not INT8"
    else:
        library = library_here(plan.content.get("is_pair_safe") is True)
        if library is not None:
            return NativeSession(file, plan, library, num_threads)
        reason = f"no library is compiled for this CPU (of {', '.join(TARGETS)})"
    if is_needed:
        raise UserError(f"runtime native cannot run {file.name}: {reason}")
    return None
