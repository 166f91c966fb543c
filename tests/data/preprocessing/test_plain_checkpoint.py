"""What is read of a classifier that plain transformers saved, and what is taken where its files say nothing."""

import json

import pytest

from trainer_ext.data.preprocessing.plain_checkpoint import is_plain, plain_pipeline
from trainer_ext.errors import UserError

BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "bad", "1": "good"},
    "label2id": {"bad": 0, "good": 1},
    "problem_type": "single_label_classification",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
PATH = "config.json"


def read(folder, task=None, tokenizer=None, **changes):
    """The pipeline and the notes; a change to None takes the entry away."""
    config = {name: value for name, value in (BERT | changes).items() if value is not None}
    if tokenizer is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return plain_pipeline(folder / PATH, config, task)


def refusal(folder, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, **kwargs)
    return str(caught.value)


def test_all_is_said(tmp_path):
    pipeline, notes = read(tmp_path, tokenizer={"model_max_length": 128})
    assert notes == []
    assert pipeline.to_dict() == {
        "task": "single_label",
        "label_space": {
            "columns": ["label"],
            "classes": ["bad", "good"],
            "values": ["bad", "good"],
        },
        "text_column": "text",
        "id_column": None,
        "cleaning": {"steps": [], "stopwords": []},
        "max_length": 128,
        "truncation": {"mode": "head"},
        "input_names": ["input_ids", "attention_mask", "token_type_ids"],
        "pad_token_id": 0,
        "train_data_sha256": "",
        "validation_data_sha256": None,
        "versions": {},
    }


@pytest.mark.parametrize(
    "config, expected",
    [
        (BERT, True),
        ({"model_type": "encoder_with_head"}, False),  # ours, whose pipeline is lost
        (BERT | {"pipeline": {}}, False),
        (BERT | {"pipeline": None}, False),
        ({"model_type": 3}, False),
        ([], False),
    ],
)
def test_which_configs_are_plain(config, expected):
    assert is_plain(config) is expected


@pytest.mark.parametrize(
    "problem, labels, task, noted",
    [
        ("multi_label_classification", 3, "multi_label", False),
        ("regression", 1, "regression", False),
        ("regression", 3, "regression", False),
        (None, 1, "regression", True),
        (None, 2, "single_label", True),
    ],
)
def test_the_task(tmp_path, problem, labels, task, noted):
    names = {str(number): f"name {number}" for number in range(labels)}
    pipeline, notes = read(tmp_path, problem_type=problem, id2label=names)
    assert pipeline.task.name == task
    assert any("no problem_type" in note for note in notes) is noted
    assert pipeline.task.head_shape == (labels,)


def test_the_user_says_what_the_config_does_not(tmp_path):
    pipeline, notes = read(tmp_path, task="multi_label", problem_type=None)
    assert (pipeline.task.name, notes) == ("multi_label", [])
    assert "task multi_label, but" in refusal(tmp_path, task="multi_label")
    assert "one of single_label, multi_label, regression" in refusal(tmp_path, task="joint")


def test_targets_are_columns(tmp_path):
    pipeline, _ = read(tmp_path, problem_type="regression", id2label={"0": "LABEL_0"})
    assert pipeline.task.label_columns == ("label",)
    pipeline, _ = read(tmp_path, problem_type="regression", id2label={"0": "clarity", "1": "tone"})
    assert pipeline.task.label_columns == ("clarity", "tone")


def test_two_classes_without_names_are_not_in_the_file(tmp_path):
    """transformers leaves out what its config has by default."""
    pipeline, notes = read(tmp_path, id2label=None, label2id=None)
    assert pipeline.task.label_space.classes == ("LABEL_0", "LABEL_1")
    assert notes == ["config.json does not name the classes: they are called LABEL_0, LABEL_1"]
    pipeline, _ = read(tmp_path, id2label=None, label2id=None, num_labels=3)
    assert pipeline.task.label_space.classes == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_names_of_label2id(tmp_path):
    """Taken if they name every class; else those of id2label stay."""
    unnamed = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
    pipeline, notes = read(tmp_path, label2id={"good": 1, "bad": 0}, **unnamed)
    assert pipeline.task.label_space.classes == ("bad", "good") and "label2id" in notes[0]
    for label2id in ({"good": 1}, {"good": 1, "bad": 7}, {"good": "1", "bad": "0"}, [1], None):
        pipeline, _ = read(tmp_path, label2id=label2id, **unnamed)
        assert pipeline.task.label_space.classes == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    "value, expected", [("good", 1), ("1", 1), (1, 1), (1.0, 1), ("0", 0), (" bad ", 0)]
)
def test_labels_of_a_file_are_names_or_ids(tmp_path, value, expected):
    assert read(tmp_path).pipeline.task.encode([value]) == expected


def test_names_that_are_numbers_are_not_ids(tmp_path):
    """Stars from 1 to 3: a 1 is the first class, and there is no 0."""
    task = read(tmp_path, id2label={"0": "1", "1": "2", "2": 3}).pipeline.task
    assert task.encode(["1"]) == 0 and task.encode(["3"]) == 2
    with pytest.raises(
        UserError, match="column 'label' has the unknown label '0'; expected one of 1, 2, 3$"
    ):
        task.encode(["0"])


@pytest.mark.parametrize(
    "tokenizer, config, expected",
    [
        ({"model_max_length": 128}, {}, 128),
        ({"model_max_length": 4096}, {}, 512),
        ({"model_max_length": int(1e30)}, {}, 512),
        ({"model_max_length": 1e30}, {}, 512),
        ({}, {"max_position_embeddings": 514, "model_type": "roberta"}, 512),
        ({}, {"max_position_embeddings": 514, "model_type": "xlm-roberta"}, 512),
        ({}, {"max_position_embeddings": 514, "model_type": "mpnet"}, 512),
        # Relative positions have no limit, so the tokenizer's is obeyed.
        ({"model_max_length": 1024}, {"position_biased_input": False}, 1024),
        ({}, {"position_biased_input": False}, 512),
        ([], {"max_position_embeddings": None}, 512),
    ],
)
def test_the_longest_input(tmp_path, tokenizer, config, expected):
    assert read(tmp_path, tokenizer=tokenizer, **config).pipeline.max_length == expected


@pytest.mark.parametrize(
    "tokenizer, types, has_types",
    [
        ({}, 2, True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, 2, False),
        ({"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}, 2, True),
        ({"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}, None, False),
        ({}, 1, False),
        ({}, 0, False),
    ],
)
def test_token_types_only_where_they_are_told_apart(tmp_path, tokenizer, types, has_types):
    """A generic tokenizer makes them for DistilBERT too, which refuses them."""
    names = read(tmp_path, tokenizer=tokenizer, type_vocab_size=types).pipeline.input_names
    assert ("token_type_ids" in names) is has_types and names[:2] == [
        "input_ids",
        "attention_mask",
    ]


def test_padding(tmp_path):
    assert read(tmp_path, pad_token_id=5).pipeline.pad_token_id == 5
    assert read(tmp_path, pad_token_id=None).pipeline.pad_token_id == 0
    roberta = read(tmp_path, pad_token_id=None, model_type="roberta")
    assert roberta.pipeline.pad_token_id == 1


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"architectures": ["BertModel"]}, "BertModel, not ...ForSequenceClassification"),
        ({"architectures": None}, "nothing, not ...ForSequenceClassification"),
        ({"architectures": ["BertForTokenClassification"]}, "Train it first"),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is not one of"),
        ({"problem_type": ["x"]}, "problem_type ['x'] is not one of"),
        ({"id2label": {}}, "does not name classes by their id"),
        ({"id2label": ["a"]}, "does not name classes by their id"),
        ({"id2label": {"0": "a", "2": "b"}}, "has 2 entries, but no name for the id 1"),
        ({"id2label": {"0": "a", "1": None}}, "no name for the id 1"),
        ({"id2label": {"0": "a", "1": "a"}}, "has the name 'a' more than once"),
        ({"id2label": None, "num_labels": "3"}, "num_labels '3' is not a number of classes"),
        ({"id2label": None, "num_labels": 10**12}, "is not a number of classes"),
        ({"summary_type": "last"}, "reads the last token of padded texts"),
    ],
)
def test_refused(tmp_path, changes, named):
    message = refusal(tmp_path, **changes)
    assert named in message and PATH in message


def test_columns_of_a_file(tmp_path):
    """Flags rename them; the classes of several 0/1 columns are found by name, in any order."""
    pipeline, _ = read(tmp_path)
    renamed = pipeline.with_columns("review", ["stars"])
    assert (renamed.text_column, renamed.task.label_columns) == ("review", ("stars",))
    assert pipeline.with_columns().to_dict() == pipeline.to_dict()
    with pytest.raises(UserError, match=r"label_columns a, b: expected as many .*\(label\)"):
        pipeline.with_columns(None, ["a", "b"])
    task = read(tmp_path, problem_type="multi_label_classification").pipeline.task
    assert task.with_columns(["good", "bad"]).label_columns == ("bad", "good")
    assert task.with_columns(["a", "b"]).label_columns == ("a", "b")
    assert task.with_columns(["tags"]).label_columns == ("tags",)
    assert task.with_columns(["good", "bad"]).encode([1, 0]) == [1, 0]
    with pytest.raises(UserError, match="'a' is not a class of the model"):
        task.with_columns(["good", "a"])
    with pytest.raises(UserError, match="expected one column of lists, or one for each of the 2"):
        task.with_columns(["a", "b", "c"])
    task = read(tmp_path, problem_type="regression").pipeline.task
    assert task.with_columns(["good", "bad"]).label_columns == ("bad", "good")
