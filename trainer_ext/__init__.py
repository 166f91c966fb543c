"""Fine-tune text encoders with the Hugging Face Trainer, prove the export, serve the result.

Importing this package loads nothing heavy, so that prediction from an ONNX folder stays light. As soon as
transformers is imported beside it, the model class is registered: `AutoModelForSequenceClassification` loads our
checkpoints after `import trainer_ext`.
"""

import importlib
import importlib.util
import sys

__version__ = "0.1.0"
__all__ = ["fit", "load_predictor"]


def __getattr__(name: str):
    """`fit` and `load_predictor`, imported when they are first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("trainer_ext.notebook" if name == "fit" else "trainer_ext.inference"), name)


class _RegisterModel:
    """An import hook that registers our model as soon as transformers has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "transformers":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_then_register(module) -> None:
                execute(module)
                importlib.import_module("trainer_ext.modeling")

            spec.loader.exec_module = execute_then_register
        return spec


if "transformers" in sys.modules:
    importlib.import_module("trainer_ext.modeling")
else:
    sys.meta_path.insert(0, _RegisterModel())
