"""One cross-validation of two folds, made by `fit` once for all tests that only look at it."""

import random
from types import SimpleNamespace

import pytest

from tests.conftest import CLASSES, sentence
from trainer_ext import fit

TINY = {
    "task": "single_label",
    "id_column": "id",
    "from_scratch": "tiny",
    "config_overrides": "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32",
    "vocab_size": 120,
    "max_length": 24,
    "max_steps": 4,
    "learning_rate": 5e-3,
    "per_device_train_batch_size": 8,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_steps": 2,
    "logging_steps": 1,
    "load_best_model_at_end": True,
    "metric_for_best_model": "f1_macro",
    "report_to": "none",
    "write_report": False,
}


def topic_rows(count: int, seed: int = 1) -> list[dict]:
    """Rows with an id, a text that tells the label, and one duplicate in six."""
    generator, names, rows = random.Random(seed), list(CLASSES), []
    for k in range(count):
        label = names[k % len(names)]
        rows.append(
            {"id": f"{seed}-{k}", "text": sentence(CLASSES[label], generator), "label": label}
        )
        if k % 6 == 5:
            rows[-1] |= {"text": rows[k - 3]["text"]}  # the same class: 3 classes in turn
    return rows


@pytest.fixture(scope="session")
def cv(tmp_path_factory):
    """`.folder`, `.run`, `.flags` and `.rows` of a finished cross-validation."""
    folder, rows = tmp_path_factory.mktemp("folds") / "cv", topic_rows(36)
    flags = TINY | {"train_file": rows, "folds": 2, "num_fold_workers": 2, "output_dir": folder}
    flags |= {"write_report": True}
    return SimpleNamespace(folder=folder, run=fit(flags), flags=flags, rows=rows)
