"""What a label means: one file per task.

A task is loaded when it is asked for: a misspelt flag is refused without loading numpy.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer_ext.tasks.base import Task
    from trainer_ext.tasks.calibration import Calibration
    from trainer_ext.tasks.label_space import LabelSpace

# A task's name is that of its module; the class is its implementation.
CLASSES = {
    "single_label": "SingleLabel",
    "multi_label": "MultiLabel",
    "multi_aspect": "MultiAspect",
    "regression": "Regression",
    "joint": "Joint",
}
MODULES = {"Task": "base", "Calibration": "calibration", "LabelSpace": "label_space"}


class TaskRegistry(Mapping[str, "type[Task]"]):
    """Task classes by name."""

    def __getitem__(self, name: str) -> "type[Task]":
        # Raises KeyError for another name, before a module of that name is imported.
        class_name = CLASSES[name]
        task: type[Task] = getattr(import_module(f"{__name__}.{name}"), class_name)
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES)


TASKS = TaskRegistry()


# Python calls this for a name that the module does not have yet (PEP 562).
def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)


__all__ = ["TASKS", "Calibration", "LabelSpace", "Task"]
