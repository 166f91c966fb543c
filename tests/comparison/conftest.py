"""Folders of finished runs, made of files alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from trainer_ext.evaluation.outputs import row_hashes, save_outputs

FLAGS = {"task": "single_label", "learning_rate": 1e-3, "output_dir": "x"}


def items_of(task, labels) -> list:
    """Labels row by row, as they are encoded, pairs for the joint task."""
    if task.token_classes:
        intents, tags = labels
        return [(int(a), list(map(int, b))) for a, b in zip(intents, tags, strict=True)]
    return [row.tolist() for row in labels]


def save_run(folder: Path, task, logits, labels, texts=None, **flags) -> Path:
    """A run of one model with these outputs; `flags` go into resolved_config.yaml."""
    folder.mkdir(parents=True)
    pipeline = {
        "task": task.name,
        "label_space": task.label_space.to_dict(),
        "text_column": "text",
        "max_length": 12,
        "input_names": ["input_ids"],
        "pad_token_id": 0,
        "calibration": task.calibration.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps({"pipeline": pipeline}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"0" * 250_000)
    metrics = task.compute_metrics(logits, labels)
    named = {f"eval_{name}": value for name, value in metrics.items()} | {"train_runtime": 3.0}
    (folder / "metrics.json").write_text(json.dumps(named), encoding="utf-8")
    (folder / "resolved_config.yaml").write_text(yaml.safe_dump(FLAGS | flags), encoding="utf-8")
    rows = items_of(task, labels)
    texts = [f"text {k}" for k in range(len(rows))] if texts is None else texts
    scored = {"metrics": metrics, "logits": logits, "labels": labels}
    save_outputs(folder, task, scored, row_hashes(texts, rows))
    return folder


@pytest.fixture
def one_hot_logits():
    """A function from predicted classes (N,) to logits (N, 3)."""
    return lambda classes: np.eye(3)[np.asarray(classes)] * 5.0
