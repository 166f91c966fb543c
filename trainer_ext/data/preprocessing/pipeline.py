"""The `pipeline` entry of a model's config.json: how a text is prepared, and what the logits mean.

It travels with checkpoints and exports, so that inference needs nothing but the model's folder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.errors import UserError
from trainer_ext.files import read_json, write_json
from trainer_ext.tasks import TASKS, Calibration, Task
from trainer_ext.tasks.rejection import Rejection

REQUIRED = ("task", "label_space", "max_length", "pad_token_id", "input_names", "text_column")
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LARGEST_NUMBER = 2**31 - 1  # a damaged max_length would otherwise ask for all the memory there is

Part = TypeVar("Part")


@dataclass
class Pipeline:
    """Everything that training fixed about texts and answers.

    Attributes:
        task: with label space, calibration and rejection.
        max_length: in tokens, special tokens included.
        pad_token_id: the token that fills a batch up.
        input_names: what the model takes: `input_ids`, `attention_mask` and perhaps `token_type_ids`.
        text_column, id_column: of the training file; prediction looks for them first.
        cleaning: steps that each text goes through before it is tokenised.
        truncation: which part of a long text stays.
        train_data_sha256: hash of the rows trained on; empty if unknown.
        validation_data_sha256: hash of the rows the best checkpoint was chosen on; None if there were none.
        versions: of the libraries that trained the model.
    """

    task: Task
    max_length: int
    pad_token_id: int
    input_names: Sequence[str]
    text_column: str = "text"
    id_column: str | None = None
    cleaning: Cleaning = field(default_factory=Cleaning)
    truncation: Truncation = field(default_factory=Truncation)
    train_data_sha256: str = ""
    validation_data_sha256: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def with_columns(
        self,
        text_column: str | None = None,
        label_columns: Sequence[str] | None = None,
    ) -> "Pipeline":
        """Return the pipeline for a file whose columns are called otherwise; None: as in the training.

        Raises:
            UserError: for label columns that do not fit the labels.
        """
        task = self.task
        if label_columns:
            task = task.with_columns(label_columns)
        return replace(self, task=task, text_column=text_column or self.text_column)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as stored in config.json."""
        stored = {
            "task": self.task.name,
            "label_space": self.task.label_space.to_dict(),
            "text_column": self.text_column,
            "id_column": self.id_column,
            "cleaning": self.cleaning.to_dict(),
            "max_length": self.max_length,
            "truncation": self.truncation.to_dict(),
            "input_names": list(self.input_names),
            "pad_token_id": self.pad_token_id,
            "train_data_sha256": self.train_data_sha256,
            "validation_data_sha256": self.validation_data_sha256,
            "versions": self.versions,
        }
        if self.task.calibration != Calibration():
            stored["calibration"] = self.task.calibration.to_dict()
        if self.task.rejection is not None:
            stored["rejection"] = self.task.rejection.to_dict()
        return stored

    @classmethod
    def parse(cls, path: Path, config: Any) -> "Pipeline":
        """Build the pipeline from a parsed config.json; entries that older versions did not write have defaults.

        Every value is checked, because a damaged config would otherwise show up as wrong answers, or deep inside a
        library.

        Args:
            path: of the config, for messages.
            config: its content.

        Raises:
            UserError: naming the file and the entry that is missing or has another form.
        """
        stored = stored_pipeline(config)
        check_entries(path, stored)
        return cls(
            task=parse_task(path, stored),
            max_length=stored["max_length"],
            pad_token_id=stored["pad_token_id"],
            input_names=stored["input_names"],
            text_column=stored["text_column"],
            id_column=stored.get("id_column"),
            cleaning=parse_part(path, stored, "cleaning", Cleaning.from_dict),
            truncation=parse_part(path, stored, "truncation", Truncation.from_dict),
            train_data_sha256=stored.get("train_data_sha256", ""),
            validation_data_sha256=stored.get("validation_data_sha256"),
            versions=stored.get("versions", {}),
        )


def keep_entry(folder: Path, key: str, value: Mapping[str, Any]) -> None:
    """Write what was fitted after training into the `pipeline` of a checkpoint's config.json."""
    # The file itself is changed: transformers keeps keys in it that our config does not have.
    path = folder / "config.json"
    config = read_json(path)
    config["pipeline"][key] = value
    write_json(path, config)


def stored_pipeline(config: Any) -> Mapping[str, Any]:
    """Return the `pipeline` entry of a parsed config.json; empty if it does not have one."""
    if not isinstance(config, Mapping):
        return {}
    stored = config.get("pipeline")
    if not isinstance(stored, Mapping):
        return {}
    return stored


def check_entries(path: Path, stored: Mapping[str, Any]) -> None:
    """Raise `UserError` unless every required entry is there and has a value that makes sense."""
    missing = [key for key in REQUIRED if key not in stored]
    if missing:
        raise UserError(
            f"{path} is not a model of this project: its 'pipeline' lacks {', '.join(missing)}"
        )
    task = stored["task"]
    # A list cannot be looked up in a mapping.
    if not isinstance(task, str) or task not in TASKS:
        raise UserError(f"{path}: task {task!r} is not one of {', '.join(TASKS)}")
    check_number(path, "max_length", stored["max_length"], 1)
    check_number(path, "pad_token_id", stored["pad_token_id"], 0)
    check_input_names(path, stored["input_names"])
    if not isinstance(stored["text_column"], str):
        raise UserError(f"{path}: text_column {stored['text_column']!r:.80} is not a column name")
    check_label_space(path, stored["label_space"], task)


def check_input_names(path: Path, names: Any) -> None:
    """Raise `UserError` unless these are inputs that a tokenizer can make."""
    known = is_text_list(names) and set(names) <= set(MODEL_INPUTS)
    if not known or "input_ids" not in names:
        raise UserError(
            f"{path}: input_names {names!r:.80} are not among {', '.join(MODEL_INPUTS)}"
        )


def check_number(path: Path, name: str, value: Any, minimum: int) -> None:
    """Raise `UserError` unless this is a whole number of a size that makes sense."""
    # JSON's true is an int to Python.
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not minimum <= value <= LARGEST_NUMBER:
        raise UserError(f"{path}: {name} {value!r:.80} is not a whole number of at least {minimum}")


def check_label_space(path: Path, space: Any, task: str) -> None:
    """Raise `UserError` unless classes and their values are lists of text of the same length."""
    if not isinstance(space, Mapping):
        raise UserError(f"{path}: the label space is not readable: {space!r:.80}")
    for key in ("columns", "classes", "values"):
        if key in space and not is_text_list(space[key]):
            raise UserError(
                f"{path}: the label space is not readable: {key} is not a list of names"
            )
    classes = space.get("classes", [])
    values = space.get("values", classes)
    # Regression has columns instead of classes.
    lacks_classes = TASKS[task].has_classes and not classes
    if lacks_classes or len(classes) != len(values):
        raise UserError(
            f"{path}: the label space is not readable: "
            f"{len(classes)} classes with {len(values)} values"
        )


def is_text_list(value: Any) -> bool:
    """Tell whether this is a list that holds nothing but text."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def parse_task(path: Path, stored: Mapping[str, Any]) -> Task:
    """Build the task with label space, calibration and rejection; `UserError` if one is not readable."""
    task_class = TASKS[stored["task"]]
    space = parse_part(path, stored, "label_space", task_class.label_space_class.from_dict)
    calibration = parse_part(path, stored, "calibration", Calibration.from_dict)
    rejection = parse_part(path, stored, "rejection", Rejection.from_dict)
    return task_class(space, calibration, rejection)


def parse_part(
    path: Path,
    stored: Mapping[str, Any],
    key: str,
    from_dict: Callable[[Any], Part],
) -> Part:
    """Read one entry with its class's own reader; `UserError` if it refuses."""
    try:
        return from_dict(stored.get(key))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"{path}: the {key.replace('_', ' ')} is not readable: {error}") from error
