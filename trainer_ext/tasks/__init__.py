"""The tasks by name."""

from trainer_ext.tasks.base import Task
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.label_space import LabelSpace
from trainer_ext.tasks.multi_aspect import MultiAspect
from trainer_ext.tasks.single_label import SingleLabel

TASKS: dict[str, type[Task]] = {task.name: task for task in (SingleLabel, MultiAspect, Joint)}

__all__ = ["TASKS", "LabelSpace", "Task"]
