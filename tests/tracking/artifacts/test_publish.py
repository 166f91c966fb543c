"""Which runs make artifacts without W&B, and what the tables of a run show."""

import json

import numpy as np
import pytest
import wandb

from tests.tracking.conftest import train_one
from trainer_ext.arguments.parser import parse_values
from trainer_ext.tasks import TASKS
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.tasks.label_space import LabelSpace
from trainer_ext.tracking.artifacts.publish import artifact_files, put_if_missing
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.csv_tables import as_number, typed
from trainer_ext.tracking.media import distinct, examples


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_EXT_ARTIFACTS", str(tmp_path / "store"))
    return Store()


def test_folds_without_a_tracker_are_stored_and_plain_runs_are_not(topic_files, tmp_path, store):
    train_one(topic_files, tmp_path / "plain", report_to="none")
    assert store.names() == []
    metrics = train_one(
        topic_files, tmp_path / "mine", report_to="none", folds=2, fold=1, run_group="g"
    )
    version = store.get("g-fold-1:best")
    assert (
        version.metadata["metric_value"] == metrics["eval_f1_macro"]
        and version.metadata["fold"] == 1
    )
    assert version.aliases == ("best", "best-fold", "latest")
    pipeline = json.loads((tmp_path / "mine/fold-1/config.json").read_text())["pipeline"]
    assert (
        version.metadata["validation_hash"] == pipeline["validation_data_sha256"]
        and pipeline["validation_data_sha256"]
    )
    assert len(version.metadata["folds_hash"]) == 64
    stored = json.loads((store.checkout(version) / "metrics.json").read_text())
    assert stored == {
        name: value for name, value in metrics.items() if not name.startswith("train_")
    }


def test_a_store_that_cannot_be_written_ends_nothing(topic_files, tmp_path, store, capsys):
    store.root.write_text("a file")
    metrics = train_one(topic_files, tmp_path / "mine", report_to="none", seeds=[7])
    assert json.loads((tmp_path / "mine/seed-7/metrics.json").read_text()) == metrics
    assert "the model was not stored as an artifact" in capsys.readouterr().err
    store.root.unlink()
    for _ in range(2):  # the second time it is there
        train_one(topic_files, tmp_path / "mine", report_to="none", seeds=[7])
    assert "seed-7 is finished" in capsys.readouterr().out
    version = store.get("mine-seed-7:best")
    assert version.number == 0 and version.metadata["metric_value"] == metrics["eval_f1_macro"]


def test_a_finished_member_is_put_once(topic_files, tmp_path, store):
    """What came later under the name stays the latest; a soup has a name of its own."""
    flags = {
        "train_file": topic_files["train"],
        "folds": 2,
        "from_scratch": "tiny",
        "output_dir": tmp_path / "mine",
    }
    args = parse_values({}, flags | {"eval_strategy": "epoch"})
    for name in ("fold-0", "soup"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        config = {"pipeline": {"task": "single_label", "train_data_sha256": "x"}}
        (tmp_path / "mine" / name / "config.json").write_text(json.dumps(config))
        (tmp_path / "mine" / name / "metrics.json").write_text('{"eval_f1_macro": 0.5}')
        put_if_missing(args, name)
    store.put("mine-fold-0", {"config.json": b"{}"}, {})
    put_if_missing(args, "fold-0")
    assert store.names() == ["mine-fold-0", "mine-soup"]
    assert "latest" in store.get("mine-fold-0:v1").aliases
    assert store.get("mine-soup:best").metadata["metric_value"] == 0.5


def test_what_goes_into_an_artifact(tmp_path):
    """Neither checkpoints nor optimizers, data, logs or whatever else lies in the folder."""
    wanted = [
        "README.md",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "resolved_config.yaml",
        "tokenizer.json",
    ]
    wanted += ["spiece.model", "vocab.txt"]
    for name in (
        *wanted,
        "optimizer.pt",
        "training_args.bin",
        "train.log",
        "rows.csv",
        ".netrc",
        "trainer_state.json",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "metrics.json").write_text('{"eval_x": 1, "train_runtime": 2.5}')
    for folder in ("checkpoint-6", "plots", "data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").write_text("x")
    files = artifact_files(tmp_path)
    assert sorted(files) == sorted([*wanted, "metrics.json"])
    assert json.loads(files["metrics.json"]) == {"eval_x": 1}


def task(name, columns, classes):
    return TASKS[name](LabelSpace(tuple(columns), tuple(classes), tuple(classes)))


def test_tables_of_every_task():
    """One class per answer makes a matrix; labels and predictions are names, or numbers."""
    texts = ["first", "x" * 900]
    single = task("single_label", ["label"], ["a", "b"])
    scored = {"labels": np.array([0, 1]), "logits": np.array([[2.0, 1.0], [3.0, 0.0]])}
    columns, rows = examples(single, texts, scored)
    assert columns == ["text", "label", "label (predicted)"]
    assert rows == [["first", "a", "a"], ["x" * 500, "b", "a"]]
    assert [part.tolist() for part in single.class_pairs(scored)] == [[0, 1], [0, 0]]

    aspects = task("multi_aspect", ["food", "staff"], ["bad", "good"])
    scored = {"labels": np.array([[0, 1]]), "logits": np.array([[[0.0, 1.0], [0.0, 1.0]]])}
    columns, rows = examples(aspects, texts[:1], scored)
    assert columns == ["text", "food", "staff", "food (predicted)", "staff (predicted)"]
    assert rows == [["first", "bad", "good", "good", "good"]]
    assert [part.tolist() for part in aspects.class_pairs(scored)] == [[0, 1], [1, 1]]

    labels = task("multi_label", ["labels"], ["joy", "fear", "hope"])
    scored = {"labels": np.array([[1.0, 0.0, 1.0]]), "logits": np.array([[-1.0, 2.0, 3.0]])}
    assert examples(labels, texts[:1], scored) == (
        ["text", "labels", "labels (predicted)"],
        [["first", "joy, hope", "fear, hope"]],
    )
    assert labels.class_pairs(scored) is None

    scores = task("regression", ["x", "y"], [])
    scored = {"labels": np.array([[1.0, 2.0]]), "logits": np.array([[1.5, 2.5]], dtype=np.float32)}
    assert examples(scores, texts[:1], scored)[1] == [["first", 1.0, 2.0, 1.5, 2.5]]
    assert scores.class_pairs(scored) is None


def test_tables_of_intents():
    """Words as a text; an intent that no training row has is no class of the matrix."""
    joint = TASKS["joint"](
        JointLabelSpace(("intent",), ("play", "stop"), ("play", "stop"), tags=("O", "B-song"))
    )
    logits = (np.array([[1.0, 0.0], [1.0, 0.0]]), [np.zeros((1, 2)), np.zeros((2, 2))])
    scored = {"labels": (np.array([1, -200]), [np.array([0]), np.array([0, 1])]), "logits": logits}
    columns, rows = examples(joint, [["stop"], ["play", "it"]], scored)
    assert columns == ["text", "intent", "intent (predicted)"]
    assert rows == [["stop", "stop", "play"], ["play it", "(unseen)", "play"]]
    assert [part.tolist() for part in joint.class_pairs(scored)] == [[1], [0]]


def test_columns_of_a_table_have_one_type_each():
    """Ids that look like numbers here and there were refused by W&B with the whole table, or lost their zeros."""
    rows = [
        ["1", "007", "12345678901234567890", "0.25", "nan", "1e400", "", "-3", "\u0661"],
        ["x", *["2"] * 8],
    ]
    table = typed(rows)
    assert table[0] == [
        "1",
        "007",
        "12345678901234567890",
        0.25,
        "nan",
        "1e400",
        "",
        -3.0,
        "\u0661",
    ]
    assert table[1] == ["x", "2", "2", 2.0, "2", "2", "2", 2.0, "2"] and typed([]) == []
    wandb.Table(columns=[str(k) for k in range(9)], data=table)
    assert as_number("123456.7890123456") == 123456.7890123456 and as_number("2e-05") == 2e-05
    assert as_number("1_0") is as_number("inf") is as_number("0x1") is as_number("01") is None


def test_columns_of_a_table_have_names_of_their_own():
    names = distinct(["id", "label", "label", "label (2)", "label"])
    assert names == ["id", "label", "label (2)", "label (2) (2)", "label (3)"]
