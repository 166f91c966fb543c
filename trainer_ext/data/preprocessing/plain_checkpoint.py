"""The `pipeline` entry of a model that plain transformers saved, made from what its own files say.

`AutoModelForSequenceClassification.save_pretrained` writes labels, the kind of problem and sizes into config.json, and
the tokenizer its limits into tokenizer_config.json. Together they say what a `Pipeline` says; where they are silent,
transformers' own default is taken, and noted. Needs no framework.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer_ext.data.preprocessing.pipeline import LARGEST_NUMBER, MODEL_INPUTS, Pipeline
from trainer_ext.errors import UserError
from trainer_ext.files import read_object
from trainer_ext.tasks import TASKS, Task
from trainer_ext.tasks.label_space import normalise

OUR_MODEL_TYPE = "encoder_with_head"
CLASSIFIER = "ForSequenceClassification"
# RoBERTa and its relatives count positions from padding_idx + 1 = 2.
POSITIONS_AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
MAX_LENGTH = 512
"""In tokens, if neither tokenizer nor encoder has a limit."""
DEFAULT_CLASSES = 2
"""transformers writes neither `id2label` nor `num_labels` if there are two classes without names."""
MOST_CLASSES = 1_000_000
"""A damaged `num_labels` would otherwise ask for all the memory there is."""
SHOWN = 3


class PlainPipeline(NamedTuple):
    """A pipeline that was made from the files of plain transformers.

    Attributes:
        pipeline: what they say.
        notes: what they do not say and was taken from transformers' defaults, for the user.
    """

    pipeline: Pipeline
    notes: list[str]


def is_plain(config: Any) -> bool:
    """Tell whether a parsed config.json is of a transformers model that has no `pipeline` entry of ours."""
    if not isinstance(config, Mapping) or "pipeline" in config:
        return False
    model_type = config.get("model_type")
    return isinstance(model_type, str) and model_type != OUR_MODEL_TYPE


def plain_pipeline(path: Path, config: Mapping[str, Any], task: str | None = None) -> PlainPipeline:
    """Return the pipeline of a plain model.

    Args:
        path: of its config.json; tokenizer_config.json is looked for beside it.
        config: the content of config.json.
        task: what the user says the model predicts; None: what `problem_type` says.

    Raises:
        UserError: for a model without a classifier, labels that cannot be read, and a task that is not its own.
    """
    check_classifier(path, config)
    names, notes = label_names(path, config)
    task_class, task_notes = plain_task(path, config, len(names), task)
    tokenizer = read_tokenizer_config(path.parent)
    stored = {
        "task": task_class.name,
        "label_space": label_space_entry(task_class, names),
        "text_column": "text",
        "max_length": max_length(config, tokenizer),
        "input_names": input_names(config, tokenizer),
        "pad_token_id": pad_token_id(config),
        "versions": versions(config),
    }
    # Parsed as an entry of ours is: every value goes through the same checks.
    pipeline = Pipeline.parse(path, {"pipeline": stored})
    return PlainPipeline(pipeline, [*task_notes, *notes])


def check_classifier(path: Path, config: Mapping[str, Any]) -> None:
    """Raise `UserError` unless the model was saved with a classifier of whole texts."""
    architectures = config.get("architectures")
    if not isinstance(architectures, list):
        architectures = []
    found = ", ".join(map(str, architectures)) or "nothing"
    if not any(str(name).endswith(CLASSIFIER) for name in architectures):
        raise UserError(
            f"{path} is not a model of this project, nor a classifier of transformers: its "
            f"architectures name {found}, not ...{CLASSIFIER}. Train it first: "
            "train.py --model_name_or_path"
        )
    # XLNet: with padding on the right, as everywhere here, that would be padding.
    if config.get("summary_type") == "last":
        raise UserError(
            f"{path}: {found} reads the last token of padded texts; only encoders that read the "
            "first one, or a mean, are supported"
        )


# --- labels -----------------------------------------------------------------------------------------------------------


def label_names(path: Path, config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names of the classes (or targets) by id, and notes on where they are from.

    Raises:
        UserError: if ids are missing, or two have one name.
    """
    names = names_by_id(path, config)
    notes = []
    if names == default_names(len(names)):
        named = names_of_label2id(config, len(names))
        if named:
            names = named
            notes.append("the classes are named by label2id, as id2label does not name them")
        elif len(names) > 1:
            shown = ", ".join(names[:SHOWN])
            if len(names) > SHOWN:
                shown += ", ..."
            notes.append(f"config.json does not name the classes: they are called {shown}")
    values = [normalise(name) for name in names]
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"{path}: id2label has the name {value!r} more than once")
    return names, notes


def names_by_id(path: Path, config: Mapping[str, Any]) -> list[str]:
    """Return the names in `id2label`; without it transformers' own, as many as `num_labels`."""
    id2label = config.get("id2label")
    if id2label is None:
        count = config.get("num_labels", DEFAULT_CLASSES)
        is_count = isinstance(count, int) and not isinstance(count, bool)
        if not is_count or not 1 <= count <= MOST_CLASSES:
            raise UserError(f"{path}: num_labels {count!r:.80} is not a number of classes")
        return default_names(count)
    if not isinstance(id2label, Mapping) or not id2label:
        raise UserError(f"{path}: id2label {id2label!r:.80} does not name classes by their id")
    names = []
    for number in range(len(id2label)):
        name = id2label.get(str(number))
        # A name that is a number may be written as one.
        if not isinstance(name, (str, int)):
            raise UserError(
                f"{path}: id2label has {len(id2label)} entries, but no name for the id {number}"
            )
        names.append(str(name))
    return names


def names_of_label2id(config: Mapping[str, Any], count: int) -> list[str] | None:
    """Return the names in `label2id` in the order of their ids; None if they are not names of all classes."""
    label2id = config.get("label2id")
    if not isinstance(label2id, Mapping):
        return None
    by_id = {}
    for name, number in label2id.items():
        if isinstance(number, int):
            by_id[number] = str(name)
    if len(label2id) != count or sorted(by_id) != list(range(count)):
        return None
    names = [by_id[number] for number in range(count)]
    if names == default_names(count):
        return None
    return names


def default_names(count: int) -> list[str]:
    """Return the names that transformers gives to classes without any."""
    return [f"LABEL_{number}" for number in range(count)]


def label_space_entry(task: type[Task], names: list[str]) -> dict[str, Any]:
    """Return the label space as `pipeline` stores it; columns are `label`, and by name the targets of regression."""
    if task.has_classes:
        values = [normalise(name) for name in names]
        return {"columns": ["label"], "classes": names, "values": values}
    columns = names
    if names == default_names(1):
        columns = ["label"]
    return {"columns": columns, "classes": [], "values": []}


# --- the task ---------------------------------------------------------------------------------------------------------


def plain_task(
    path: Path,
    config: Mapping[str, Any],
    count: int,
    given: str | None,
) -> tuple[type[Task], list[str]]:
    """Return the task that `problem_type`, the user or the number of labels says, and notes.

    Raises:
        UserError: for a problem or a task that no plain model has, and if the user and the config disagree.
    """
    by_problem = {}
    for task in TASKS.values():
        if task.problem_type:
            by_problem[task.problem_type] = task
    names = [task.name for task in by_problem.values()]
    if given is not None and given not in names:
        raise UserError(
            f"task {given}: a model of plain transformers has one of {', '.join(names)}"
        )
    problem = config.get("problem_type")
    notes = []
    if problem is None:
        problem = default_problem(count)
        if given is not None:
            problem = TASKS[given].problem_type
        else:
            # Said, because a multi-label model that was saved without its problem_type looks the same.
            notes.append(
                f"config.json has no problem_type: {count} labels are read as {problem}, as "
                "transformers does (--task says otherwise)"
            )
    if not isinstance(problem, str) or problem not in by_problem:
        known = ", ".join(by_problem)
        raise UserError(f"{path}: problem_type {problem!r:.80} is not one of {known}")
    task_class = by_problem[problem]
    if given not in (None, task_class.name):
        raise UserError(f"task {given}, but {path} has the problem_type {problem}")
    return task_class, notes


def default_problem(count: int) -> str:
    """Return the problem that transformers trains for this number of labels if a config does not say."""
    return "regression" if count == 1 else "single_label_classification"


# --- how texts are read -----------------------------------------------------------------------------------------------


def read_tokenizer_config(folder: Path) -> Mapping[str, Any]:
    """Return the content of tokenizer_config.json; empty if there is none."""
    return read_object(folder / "tokenizer_config.json")


def max_length(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int:
    """Return the longest input in tokens: the tokenizer's limit, within the encoder's positions."""
    limits = []
    # Tokenizers without a limit write 1e30.
    stated = as_size(tokenizer.get("model_max_length"))
    if stated:
        limits.append(stated)
    positions = position_limit(config)
    if positions:
        limits.append(positions)
    return min(limits, default=MAX_LENGTH)


def position_limit(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens the encoder has positions for; None if it takes any number."""
    positions = as_size(config.get("max_position_embeddings"))
    # DeBERTa has relative positions only, for any length.
    is_relative = config.get("position_biased_input") is False
    if positions is None or is_relative:
        return None
    if config.get("model_type") in POSITIONS_AFTER_PADDING:
        positions -= 2
    return positions


def input_names(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> list[str]:
    """Return what the model takes.

    Without `token_type_ids` where encoder or tokenizer does not tell types apart: they would be all 0, which the
    encoder takes anyway if it is not given any. Many generic tokenizers make them for encoders that refuse them.
    """
    names = list(MODEL_INPUTS)
    types = as_size(config.get("type_vocab_size")) or 0
    made_by_tokenizer = tokenizer.get("model_input_names")
    makes_types = not isinstance(made_by_tokenizer, list) or "token_type_ids" in made_by_tokenizer
    if types < 2 or not makes_types:
        names.remove("token_type_ids")
    return names


def pad_token_id(config: Mapping[str, Any]) -> int:
    """Return the token that fills a batch up; RoBERTa and its relatives tell it from text by its id."""
    stored = config.get("pad_token_id")
    if isinstance(stored, int) and not isinstance(stored, bool) and stored >= 0:
        return stored
    return 1 if config.get("model_type") in POSITIONS_AFTER_PADDING else 0


def as_size(value: Any) -> int | None:
    """Return a positive whole number of a size that makes sense; None for any other value."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not 1 <= value <= LARGEST_NUMBER:
        return None
    return int(value)


def versions(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the version of transformers that saved the model, if it is recorded."""
    version = config.get("transformers_version")
    return {"transformers": version} if isinstance(version, str) else {}
