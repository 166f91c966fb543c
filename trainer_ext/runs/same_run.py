"""Whether a folder holds the very run that is asked for: its resolved_config.yaml against the flags of now."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.arguments.report import ReportArguments
from trainer_ext.errors import UserError, describe_error

START_OVER = "Give another output_dir, or --overwrite_output_dir true to start over"

# Which part of the whole is trained, and what follows the training, does not change what the models are. A search with
# more trials goes on.
NOT_COMPARED = {"fold", "seeds", "soup", "search_trials"}
NOT_COMPARED |= {spec.name for spec in fields(ReportArguments)}


def comparable(values: dict[str, Any]) -> dict[str, Any]:
    """Return resolved flags as YAML reads them back, without those that may differ between parts of one run."""
    values = yaml.safe_load(yaml.safe_dump(values))
    ignored = set(NOT_COMPARED)
    if values.get("folds"):
        # Folds are validated on rows of their own; this file only judges a soup.
        ignored.add("validation_file")
    return {key: value for key, value in values.items() if key not in ignored}


def read_resolved(folder: Path) -> dict[str, Any] | None:
    """Return the resolved flags in a folder; None if there are none.

    Raises:
        UserError: when the file cannot be read.
    """
    path = folder / "resolved_config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {describe_error(error)}") from error
    return values if isinstance(values, dict) else {}


def check_same_run(folder: Path, values: dict[str, Any]) -> bool:
    """Return whether the folder holds a run with these resolved flags; False if it holds no run at all.

    Raises:
        UserError: when it holds another one, naming the first flag that differs and both values.
    """
    before = read_resolved(folder)
    if before is None:
        return False
    before, now = comparable(before), comparable(values)
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            raise UserError(
                f"{folder} holds another run: its {key} is {before.get(key)}, now it is {now.get(key)}. {START_OVER}"
            )
    return True
