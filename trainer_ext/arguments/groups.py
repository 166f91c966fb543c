"""All flags of a training, by subject."""

from dataclasses import dataclass
from typing import Any

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.folds import FoldArguments
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.objective import ObjectiveArguments


@dataclass
class Arguments:
    """All parsed flags, and `given`: those the user set in the recipe or on the command line, as they were set."""

    model: ModelArguments
    data: DataArguments
    objective: ObjectiveArguments
    training: Any  # TrainingArguments, whose module loads torch
    folds: FoldArguments
    given: dict[str, Any]
