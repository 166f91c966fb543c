"""What an evaluation during training keeps and copies, and that it says what the saved model is scored with."""

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from transformers import trainer_pt_utils

from tests.conftest import CLASSES
from tests.objectives.test_joint import JOINT_OBJECTIVES
from tests.objectives.test_objective import OBJECTIVES
from tests.training.test_trainer import SLU_TASK, make_data, make_joint_trainer, make_trainer
from trainer_ext.errors import RunError
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.training import nested
from trainer_ext.training.nested import join, pad, to_arrays, to_tensors


def numbers_in(values) -> int:
    """How many numbers arrays or tensors hold, one of them or several."""
    if isinstance(values, (tuple, list)):
        return sum(map(numbers_in, values))
    return int(np.prod(values.shape))


@pytest.fixture
def copied(monkeypatch) -> list[int]:
    """The size of every joined array or tensor of an evaluation."""
    sizes = []

    def counting(function):
        def counted(*args, **kwargs):
            result = function(*args, **kwargs)
            sizes.append(numbers_in(result))
            return result

        return counted

    for name in ("nested_concat", "torch_pad_and_concatenate", "numpy_pad_and_concatenate"):
        monkeypatch.setattr(trainer_pt_utils, name, counting(getattr(trainer_pt_utils, name)))
    monkeypatch.setattr(nested.np, "concatenate", counting(np.concatenate))
    return sizes


@pytest.mark.parametrize("task", ["joint", "single_label"])
def test_work_and_memory_grow_with_the_rows(task, tmp_path, copied):
    """Four times the rows were sixteen times the work: all logits so far were joined anew with each batch."""
    if task == "joint":
        trainer = make_joint_trainer(
            tmp_path, JOINT_OBJECTIVES["joint"], per_device_eval_batch_size=4
        )
    else:
        trainer = make_trainer(tmp_path, OBJECTIVES["cross_entropy"], per_device_eval_batch_size=4)
    rows, work = trainer.eval_dataset, {}
    for times in (1, 4):
        copied.clear()
        trainer.evaluate(concatenate_datasets([rows] * times))
        work[times] = sum(copied)
    assert work[4] <= 4.5 * work[1]


def test_of_each_batch_the_predictions_are_kept(tmp_path, monkeypatch):
    """Not (rows, tokens, tags) of logits; and what is computed from them is what all logits would give."""
    trainer = make_joint_trainer(tmp_path, JOINT_OBJECTIVES["joint"], per_device_eval_batch_size=5)
    trainer.train()
    seen = {}
    monkeypatch.setattr(
        SLU_TASK, "metrics_of", lambda kept, labels: seen.update(kept=kept, labels=labels) or {}
    )
    trainer.evaluate()
    monkeypatch.undo()
    intents, tags = seen["kept"]
    assert intents.shape == (24,) and all(row.ndim == 1 for row in tags)
    result = trainer.predict(trainer.eval_dataset)
    words = join([result.label_ids[1]]) != -100
    expected = [
        SLU_TASK.best_tags(row[w]) for row, w in zip(result.predictions[1], words, strict=True)
    ]
    for row, gold, predicted in zip(tags, seen["labels"][1], expected, strict=True):
        assert row[gold != -100].tolist() == predicted.tolist()
    before = {name.removeprefix("test_"): value for name, value in result.metrics.items()}
    after = trainer.evaluate()
    for name in ("intent_accuracy", "slot_f1", "sentence_accuracy"):
        assert after[f"eval_{name}"] == before[name]


@pytest.mark.parametrize(
    "name, labels",
    [
        ("single_label", [2, 0, 1, 1, 0]),
        ("multi_label", [[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 1]]),
        (
            "regression",
            [[1.0, 0.5, 3.0], [2.0, 0.0, 1.0], [0.0, 1.0, 1.5], [4.0, 3.0, 2.0], [1.0, 1.0, 2.5]],
        ),
    ],
)
def test_metrics_of_reduced_batches_are_those_of_all_logits(name, labels):
    """To the bit, whatever the task keeps."""
    task = TASKS[name](
        LabelSpace(tuple(CLASSES) if name == "regression" else ("label",), tuple(CLASSES), ())
    )
    labels, logits = (
        np.array(labels),
        np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32),
    )
    batches = [task.reduce(logits[k : k + 2], labels[k : k + 2]) for k in (0, 2, 4)]
    assert task.metrics_of(join(batches), labels) == task.compute_metrics(logits, labels)


def test_one_batch_that_is_not_finite_ends_the_evaluation(tmp_path):
    """NaN has a largest class as well, so predictions do not show it."""
    trainer = make_trainer(
        tmp_path, OBJECTIVES["cross_entropy"], data=make_data(), per_device_eval_batch_size=8
    )
    calls = []

    def poison(model, inputs, outputs):
        calls.append(outputs)
        if len(calls) == 2:
            outputs["logits"][1, 0] = torch.nan

    trainer.model.register_forward_hook(poison)
    with pytest.raises(RunError, match="not finite numbers"):
        trainer.evaluate()
    assert len(calls) == 3
    trainer.evaluate()  # the next one begins anew


def test_rows_of_different_lengths_become_tensors_and_are_joined():
    """Batches are padded each to its own longest row."""
    kept = to_tensors((np.array([1, 0]), [np.array([3, 4, 5]), np.array([6])]), torch.device("cpu"))
    assert kept[1].tolist() == [[3, 4, 5], [6, -100, -100]]
    intents, tags = join([to_arrays(kept), (np.array([2]), np.array([[7, 8]]))])
    assert intents.tolist() == [1, 0, 2] and [row.tolist() for row in tags] == [
        [3, 4, 5],
        [6, -100, -100],
        [7, 8],
    ]
    assert pad((intents, tags))[1].tolist() == [[3, 4, 5], [6, -100, -100], [7, 8, -100]]
    assert to_arrays(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32


def test_a_dataset_of_one_batch(tmp_path):
    """One array, nothing to join."""
    trainer = make_trainer(tmp_path, OBJECTIVES["cross_entropy"], per_device_eval_batch_size=64)
    assert isinstance(trainer.eval_dataset, Dataset)
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1
    assert trainer.predict(trainer.eval_dataset).predictions.shape == (24, 3)
