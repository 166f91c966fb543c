"""Is what a model folder says of its use of the kind it should be? A damaged config is refused before it is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS

NEEDED = ("task", "label_space", "max_length", "pad_token_id", "input_names", "text_column")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LONGEST = 2**31 - 1  # tokens, and ids of tokens


def check_pipeline(path: Path, config: Any) -> dict[str, Any]:
    """The `pipeline` of a config, when it is whole and every value is of its kind.

    Raises:
        UserError: naming the file and what is wrong.
    """
    pipeline = config.get("pipeline") if isinstance(config, Mapping) else None
    missing = [key for key in NEEDED if not isinstance(pipeline, Mapping) or key not in pipeline]
    if missing:
        raise UserError(
            f"{path} is no model of this project: its 'pipeline' lacks {', '.join(missing)}"
        )
    task, names = pipeline["task"], pipeline["input_names"]
    if not isinstance(task, str) or task not in TASKS:
        raise UserError(f"{path}: task {task!r} is none of {', '.join(TASKS)}")
    check_number(path, "max_length", pipeline["max_length"], 1)
    check_number(path, "pad_token_id", pipeline["pad_token_id"], 0)
    if not is_list_of_text(names) or "input_ids" not in names or not set(names) <= set(INPUTS):
        raise UserError(f"{path}: input_names {names!r:.80} are not some of {', '.join(INPUTS)}")
    if not isinstance(pipeline["text_column"], str):
        raise UserError(
            f"{path}: text_column {pipeline['text_column']!r:.80} is no name of a column"
        )
    check_labels(path, pipeline["label_space"], task)
    return dict(pipeline)


def check_number(path: Path, name: str, value: Any, low: int) -> None:
    """Raise `UserError` unless this is a whole number of a size that makes sense."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= LONGEST:
        raise UserError(f"{path}: {name} {value!r:.80} is no whole number of at least {low}")


def check_labels(path: Path, space: Any, task: str) -> None:
    """Raise `UserError` unless classes and their values are lists of text of the same length."""
    if not isinstance(space, Mapping):
        raise UserError(f"{path}: the label space is not readable: {space!r:.80}")
    for key in ("columns", "classes", "values"):
        if key in space and not is_list_of_text(space[key]):
            raise UserError(f"{path}: the label space is not readable: {key} is no list of names")
    classes = space.get("classes", [])
    if len(classes) != len(space.get("values", classes)) or (
        not classes and TASKS[task].has_classes
    ):
        counts = f"{len(classes)} classes with {len(space.get('values', ()))} values"
        raise UserError(f"{path}: the label space is not readable: {counts}")


def is_list_of_text(value: Any) -> bool:
    """Whether every item of a list is text."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
