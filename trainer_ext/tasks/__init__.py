"""The tasks by name."""

from trainer_ext.tasks.base import Task
from trainer_ext.tasks.calibration import Calibration
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.label_space import LabelSpace
from trainer_ext.tasks.multi_aspect import MultiAspect
from trainer_ext.tasks.multi_label import MultiLabel
from trainer_ext.tasks.regression import Regression
from trainer_ext.tasks.single_label import SingleLabel

TASKS: dict[str, type[Task]] = {
    t.name: t for t in (SingleLabel, MultiLabel, MultiAspect, Regression, Joint)
}

__all__ = ["TASKS", "Calibration", "LabelSpace", "Task"]
