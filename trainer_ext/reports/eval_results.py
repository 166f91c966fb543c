"""`.eval_results/*.yaml`: a score as the Hub's leaderboards read it, for a data set that lies on the Hub.

Format: https://huggingface.co/docs/hub/eval-results.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import yaml

from trainer_ext.files import write_text
from trainer_ext.reports.cards import ModelFacts, is_hub_name

FOLDER = ".eval_results"
SPLITS = {"test": "test", "eval": "validation"}
"""Prefixes of metrics, the one that counts first, and what they were measured on."""


def result_file(facts: ModelFacts) -> str | None:
    """Return the name of the file in the run's folder; None if the rows are not a data set of the Hub."""
    dataset = facts.args.data.dataset_name
    # The format needs a data set that lies on the Hub: a file on this machine has no leaderboard.
    if not is_hub_name(dataset):
        return None
    return f"{FOLDER}/{re.sub('[^A-Za-z0-9.-]+', '_', str(dataset))}.yaml"


def write_result(facts: ModelFacts, day: str | None = None) -> None:
    """Write the task's default metric on the test rows, or without any on the validation rows.

    Args:
        facts: of the model.
        day: of the measurement, as ISO 8601 has it; None: today.
    """
    name = result_file(facts)
    entry = result_entry(facts, day or datetime.now(timezone.utc).date().isoformat())
    if name is None or entry is None:
        return
    path = facts.folder / name
    path.parent.mkdir(exist_ok=True)
    write_text(path, yaml.safe_dump([entry], sort_keys=False))


def result_entry(facts: ModelFacts, day: str) -> Mapping[str, Any] | None:
    """Return the entry of one score; None if there is none that is finite."""
    data = facts.args.data
    metric = facts.task.default_metric
    for prefix, split in SPLITS.items():
        value = facts.metrics.get(f"{prefix}_{metric}")
        # YAML has NaN, the Hub's reader has not.
        if value is None or not math.isfinite(value):
            continue
        return {
            "dataset": {"id": data.dataset_name, "task_id": data.dataset_config_name or "default"},
            "value": round(value, 6),
            "date": day,
            "notes": f"{metric}, split {split}",
        }
    return None
