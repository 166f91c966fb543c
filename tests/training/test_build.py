"""What is said before a training starts."""

import pytest
from datasets import Dataset

from tests.conftest import CLASSES
from tests.training.test_trainer import TOKENIZER, make_model
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.folds import FoldArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.training.build import build_trainer, tokenize_splits, warn_of_late_start


def test_the_objective_is_smoothed_and_counts_classes_in_the_training_rows(tmp_path):
    """3 and 1 of them, and none of the third class; the validation rows are all of the second."""
    labels = {"train": [0, 0, 0, 1], "validation": [1] * 4}
    rows = {
        split: Dataset.from_dict({"text": list("abcd"), "labels": values})
        for split, values in labels.items()
    }
    objective = ObjectiveArguments(class_weights=["balanced"])
    training = TrainingArguments(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, label_smoothing_factor=0.1
    )
    args = Arguments(ModelArguments(), DataArguments(), objective, training, FoldArguments(), {})
    model, task = (
        make_model(),
        TASKS["single_label"](LabelSpace(("label",), tuple(CLASSES), tuple(CLASSES))),
    )
    model.config.pipeline = {
        "max_length": 8,
        "truncation": Truncation().to_dict(),
        "cleaning": Cleaning().to_dict(),
    }
    tokens = tokenize_splits(args, task, model, TOKENIZER, rows)
    ((weight, term),) = build_trainer(
        args, task, model, TOKENIZER, labels["train"], tokens
    ).objective.terms
    assert weight == 1 and term.label_smoothing == 0.1
    assert term.class_weights.tolist() == pytest.approx([2 / 3, 2, 1])


@pytest.mark.parametrize(
    "max_steps, rows, said",
    [
        (25, 400, "starts with epoch 1, step 25, but max_steps is 25"),  # 16 rows a step
        (26, 400, ""),
        (25, 401, "starts with epoch 1, step 26, but max_steps is 25"),
        (-1, 400, ""),
    ],
)
def test_adversarial_training_that_never_starts(tmp_path, capsys, max_steps, rows, said):
    """AWP waits for an epoch; where epochs are known is the first place to tell."""
    flags = {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "adversarial": "awp",
    }
    args = TrainingArguments(
        output_dir=str(tmp_path), report_to="none", max_steps=max_steps, **flags
    )
    warn_of_late_start(args, rows)
    assert (said in capsys.readouterr().err) if said else not capsys.readouterr().err
