"""Fine-tune text encoders with the Hugging Face Trainer, prove the export, serve the result.

Importing this package loads nothing heavy, so that prediction from an ONNX folder stays light. As soon as
transformers is imported beside it, the model class is registered: `AutoModelForSequenceClassification` loads our
checkpoints after `import trainer_ext`, and so does Optimum with `export=True`.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CustomTrainer", "cross_validate", "export", "fit", "load_predictor"]

if TYPE_CHECKING:
    # For editors and type checkers; at run time `__getattr__` imports what is asked for.
    from trainer_ext import export
    from trainer_ext.api import cross_validate, fit
    from trainer_ext.inference import load_predictor
    from trainer_ext.training.trainer import CustomTrainer

_MODULES = {
    "CustomTrainer": "trainer_ext.training.trainer",
    "cross_validate": "trainer_ext.api",
    "fit": "trainer_ext.api",
    "load_predictor": "trainer_ext.inference",
}

# Read when torch is loaded, which every command does later: threads that spin while they wait take the cores of the
# thread that they wait for, where others work too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first asked for."""
    if name == "export":  # a package that can be called
        return importlib.import_module("trainer_ext.export")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


class _Around:
    """An import hook that runs the code of one module, once, inside a function of ours."""

    def __init__(self, module, around):
        self.module, self.around = module, around

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            spec.loader.exec_module = functools.partial(self.around, spec.loader.exec_module)
        return spec


def _and_register(execute, module) -> None:
    """Register our model once transformers is there."""
    execute(module)
    importlib.import_module("trainer_ext.modeling")


def _and_register_with_optimum(execute, module) -> None:
    """Register our model with Optimum's exporters once they are there."""
    execute(module)
    importlib.import_module("trainer_ext.export.optimum_registration")


def _silently(execute, module) -> None:
    """Without what the module prints: with WANDB_MODE=offline a line on standard output, tracked or not."""
    with contextlib.redirect_stdout(io.StringIO()):
        execute(module)


if "transformers" in sys.modules:
    importlib.import_module("trainer_ext.modeling")
else:
    sys.meta_path.insert(0, _Around("transformers", _and_register))
# The package and not its part with the registry: ours imports both.
if "optimum.exporters.onnx" in sys.modules:
    importlib.import_module("trainer_ext.export.optimum_registration")
else:
    sys.meta_path.insert(0, _Around("optimum.exporters.onnx", _and_register_with_optimum))
sys.meta_path.insert(0, _Around("transformers.integrations.integration_utils", _silently))
