"""The `pipeline` entry of config.json: what is written is read again, and what is damaged is named."""

from pathlib import Path

import pytest

from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, Calibration, LabelSpace

CONFIG = Path("model/config.json")
CLASSES = LabelSpace(("label",), ("a", "b"), ("a", "b"))
TARGETS = LabelSpace(("quality", "price"), (), ())
CALIBRATION = Calibration(1.5, None, (0.0, 0.25))


def pipeline_of(name: str = "single_label", **changes) -> Pipeline:
    space = TARGETS if name == "regression" else CLASSES
    task = TASKS[name](space, changes.pop("calibration", Calibration()))
    return Pipeline(task, max_length=12, pad_token_id=0, input_names=["input_ids"], **changes)


@pytest.mark.parametrize(
    "pipeline",
    [
        pipeline_of(),
        pipeline_of(calibration=CALIBRATION),
        pipeline_of("regression", text_column="essay", id_column="nr"),
        pipeline_of(cleaning=Cleaning(("html",)), truncation=Truncation("head_tail", 0.5, "...")),
        pipeline_of(train_data_sha256="1", validation_data_sha256="2", versions={"torch": "3"}),
    ],
)
def test_what_is_written_is_read_again(pipeline):
    stored = pipeline.to_dict()
    read = Pipeline.parse(CONFIG, {"pipeline": stored})
    assert read.to_dict() == stored
    assert read.task.calibration == pipeline.task.calibration
    assert (read.cleaning, read.truncation) == (pipeline.cleaning, pipeline.truncation)


def test_models_of_before_lack_some_entries():
    """Then the defaults are what they were trained with."""
    stored = pipeline_of().to_dict()
    optional = ("id_column", "cleaning", "truncation", "train_data_sha256", "versions")
    for name in (*optional, "validation_data_sha256"):
        del stored[name]
    assert Pipeline.parse(CONFIG, {"pipeline": stored}).to_dict() == pipeline_of().to_dict()


@pytest.mark.parametrize(
    "entry, value, named",
    [
        ("max_length", True, "max_length True is not a whole number of at least 1"),
        ("max_length", 2**40, "max_length"),
        ("pad_token_id", -1, "pad_token_id -1"),
        ("input_names", ["attention_mask"], "input_names"),
        ("input_names", ["input_ids", "pixels"], "pixels"),
        ("text_column", None, "text_column None"),
        ("task", ["single_label"], "task"),
        ("label_space", {"columns": ["label"], "classes": [], "values": []}, "0 classes"),
        (
            "label_space",
            {"columns": ["x"], "classes": ["a"], "values": ["a", "b"]},
            "with 2 values",
        ),
        ("truncation", {"mode": "middle"}, "the truncation is not readable"),
        ("calibration", {"warmth": 1}, "the calibration is not readable"),
        (
            "rejection",
            {"score": "luck", "threshold": 0, "rate": 0},
            "the rejection is not readable",
        ),
    ],
)
def test_a_damaged_entry_is_named(entry, value, named):
    stored = pipeline_of().to_dict() | {entry: value}
    with pytest.raises(UserError) as caught:
        Pipeline.parse(CONFIG, {"pipeline": stored})
    assert str(CONFIG) in str(caught.value) and named in str(caught.value)


@pytest.mark.parametrize("config", [None, [], {}, {"pipeline": None}, {"pipeline": []}])
def test_a_config_of_another_project(config):
    with pytest.raises(
        UserError, match="is not a model of this project: its 'pipeline' lacks task"
    ):
        Pipeline.parse(CONFIG, config)
