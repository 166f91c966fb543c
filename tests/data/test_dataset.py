"""Files and hub data sets to labelled data sets."""

import datasets
import pytest

from tests.conftest import ASPECTS
from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.class_names import named
from trainer_ext.data.dataset import build_dataset, dataset_sha256, load_rows
from trainer_ext.data.labelled import label_space
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS


def test_files_to_a_dataset(aspect_files):
    data = DataArguments(
        task="multi_aspect", train_file=str(aspect_files["train"]), text_column="content", label_columns=ASPECTS,
        id_column="id", label_names=["none=-2", "negative=-1", "neutral=0", "positive=1"],
    )  # fmt: skip
    rows = load_rows(data, "train")
    task = TASKS["multi_aspect"](label_space(rows, data.label_columns, data.label_names))
    built = build_dataset(rows, data, task)
    assert len(built) == 96 and built.column_names == ["text", "labels", "id"]
    assert built[0]["id"] == "4-0" and "\n" in "".join(built["text"])
    values = [-2, -1, 0, 1]
    expected = [[values.index(int(row.values[name])) for name in ASPECTS] for row in rows]
    assert (
        built["labels"] == expected
        if isinstance(built["labels"], list)
        else list(built["labels"]) == expected
    )
    assert load_rows(data, "test") == []


def test_sample_limits(aspect_files):
    data = DataArguments(
        train_file=str(aspect_files["train"]), validation_file=str(aspect_files["validation"]),
        text_column="content", label_columns=["food"], max_train_samples=7, max_eval_samples=5,
        test_file=str(aspect_files["validation"]),
    )  # fmt: skip
    assert (len(load_rows(data, "train")), len(load_rows(data, "validation"))) == (7, 5)
    assert len(load_rows(data, "test")) > 5, "test rows are all used"


def test_lists_of_class_ids_and_gaps_by_name(tmp_path):
    """As the hub has several labels a row."""
    names = datasets.ClassLabel(names=["joy", "anger"])
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.Sequence(names)}
    )
    (tmp_path / "set").mkdir()
    rows = datasets.Dataset.from_dict(
        {"text": ["a", "b"], "label": [[0, 1], []]}, features=features
    )
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    data = DataArguments(dataset_name=str(tmp_path / "set"), task="multi_label")
    assert [row.values["label"] for row in load_rows(data, "train")] == [["joy", "anger"], []]
    assert named(None, names.int2str) is None and named(-1, names.int2str) == -1


def test_bad_files(tmp_path):
    (tmp_path / "empty.csv").write_text("text,label\n")
    with pytest.raises(UserError, match="empty.csv is empty"):
        load_rows(DataArguments(train_file=str(tmp_path / "empty.csv")), "train")
    (tmp_path / "a.csv").write_text("body,label\nx,1\n")
    with pytest.raises(UserError, match=r"no column 'text'; the columns are body, label"):
        load_rows(DataArguments(train_file=str(tmp_path / "a.csv")), "train")


def test_a_data_set_by_name_with_class_labels(tmp_path):
    """`dataset_name` takes what `load_dataset` takes: here a folder of parquet files with a ClassLabel feature."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    for split, labels in (("train", [0, 1, 1]), ("validation", [1])):
        rows = {"text": [f"row {k}" for k in range(len(labels))], "label": labels}
        (tmp_path / "set").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            tmp_path / "set" / f"{split}.parquet"
        )
    data = DataArguments(dataset_name=str(tmp_path / "set"))
    assert [row.values["label"] for row in load_rows(data, "train")] == ["no", "yes", "yes"]
    assert len(load_rows(data, "validation")) == 1
    assert load_rows(data, "test") == []
    with pytest.raises(UserError, match="cannot be loaded"):
        load_rows(DataArguments(dataset_name="no-such/data-set"), "train")


def test_the_hash_depends_on_texts_labels_and_order_only():
    one = datasets.Dataset.from_dict({"text": ["a", "b"], "labels": [0, 1]})
    same = datasets.Dataset.from_dict({"labels": [0, 1], "text": ["a", "b"], "id": ["x", "y"]})
    assert dataset_sha256(one) == dataset_sha256(same)
    for texts, labels in ((["a", "c"], [0, 1]), (["a", "b"], [1, 1]), (["b", "a"], [1, 0])):
        assert dataset_sha256(
            datasets.Dataset.from_dict({"text": texts, "labels": labels})
        ) != dataset_sha256(one)
