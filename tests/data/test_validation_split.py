"""Validation rows out of the training file: by class, duplicates together, the same for the same seed."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.parser import parse
from trainer_ext.data.dataset import (
    build_dataset,
    dataset_sha256,
    load_rows,
    recorded_rows,
    rows_kept_back,
    training_task,
)
from trainer_ext.data.io.readers import Row
from trainer_ext.data.training_data import read_splits
from trainer_ext.data.validation_split import by_class, by_flags, split_rows
from trainer_ext.errors import UserError


def rows_of(labels, texts=None, **columns) -> list[Row]:
    """A row for each label."""
    texts = texts or [f"text {k}" for k in range(len(labels))]
    made = []
    for k, (text, label) in enumerate(zip(texts, labels, strict=True)):
        extra = {name: values[k] for name, values in columns.items() if values[k] is not None}
        made.append(Row({"text": text, "label": label, **extra}, f"row {k + 1}"))
    return made


def data_of(share=0.1, seed=42, **flags) -> DataArguments:
    data = DataArguments(validation_split=share, **flags)
    data.split_seed = seed
    return data


def names(rows) -> list[str]:
    return [row.values["text"] for row in rows]


def test_each_class_gives_its_share():
    rows = rows_of(["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    parts = split_rows(rows, data_of())
    assert Counter(row.values["label"] for row in parts.validation) == {"a": 6, "b": 3, "c": 1}
    assert sorted(names(parts.train) + names(parts.validation)) == sorted(names(rows))
    assert names(parts.train) == [
        name for name in names(rows) if name in set(names(parts.train))
    ], "in order"


def test_the_seed_decides():
    rows = rows_of(["a", "b"] * 50)
    one, again, other = (split_rows(rows, data_of(seed=seed)) for seed in (1, 1, 2))
    assert names(one.validation) == names(again.validation) != names(other.validation)


def test_a_rare_class_is_trained_on():
    rows = rows_of(["a"] * 20 + ["b"])
    for seed in range(20):
        parts = split_rows(rows, data_of(0.5, seed))
        assert "b" in {row.values["label"] for row in parts.train}


def test_duplicates_stay_together():
    """Also those that differ by case or blanks."""
    texts = [text for k in range(30) for text in (f"text {k}", f"TEXT  {k}", f"text {k}")]
    for seed in range(5):
        parts = split_rows(rows_of(["a", "b", "a"] * 30, texts), data_of(0.2, seed))
        train, held = (
            {" ".join(name.casefold().split()) for name in names(part)} for part in parts
        )
        assert held and not train & held


def test_rows_made_from_others_follow_their_source_and_are_never_validated_on():
    originals = [str(k) for k in range(40)]
    ids = [*originals, *(f"{k}-new" for k in originals)]
    sources, operations = [None] * 40 + originals, [None] * 40 + ["copy"] * 40
    rows = rows_of(["a", "b"] * 40, id=ids, source_id=sources, operation=operations)
    for seed in range(5):
        parts = split_rows(rows, data_of(0.25, seed))
        held = {row.values["id"] for row in parts.validation}
        assert len(held) == 10 and not any("source_id" in row.values for row in parts.validation)
        trained = {row.values.get("source_id", row.values["id"]) for row in parts.train}
        assert not held & trained and len(parts.train) == 60
    with pytest.raises(UserError, match="source_id '7' is the id of no row"):
        split_rows([row for row in rows if row.values["id"] != "7"], data_of())
    unnamed = [Row({k: v for k, v in row.values.items() if k != "id"}, row.where) for row in rows]
    with pytest.raises(UserError, match="no column 'id' tells the rows apart"):
        split_rows(unnamed, data_of())


@pytest.mark.parametrize(
    "task, label, flags",
    [
        ("multi_label", lambda k: ["ab"[k % 2], "c"][: 1 + k % 3], {"label_columns": ["label"]}),
        ("multi_label", lambda k: [k % 2, int(k % 3 == 0), 1], {"label_columns": ["label"]}),
        ("regression", lambda k: k / 7, {"label_columns": ["label"]}),
        ("multi_aspect", lambda k: str(k % 3), {"label_columns": ["label", "other"]}),
    ],
)
def test_every_task(task, label, flags):
    labels = [label(k) for k in range(60)]
    rows = rows_of(labels, other=[str(k % 2) for k in range(60)])
    parts = split_rows(rows, data_of(0.2, task=task, **flags))
    assert 8 <= len(parts.validation) <= 16 and len(parts.train) + len(parts.validation) == 60
    training_task(parts.train, data_of(0.2, task=task, **flags))
    assert names(split_rows(rows, data_of(0.2, task=task, **flags)).validation) == names(
        parts.validation
    )


def test_joint():
    rows = [
        Row({"tokens": ["word", str(k)], "slots": ["O", "B-n"], "intent": "ab"[k % 2]}, f"row {k}")
        for k in range(40)
    ]
    parts = split_rows(rows, data_of(0.25, task="joint"))
    assert Counter(row.values["intent"] for row in parts.validation) == {"a": 5, "b": 5}


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=60),
    classes=st.integers(1, 5),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 1000),
)
def test_any_division_keeps_each_class_and_no_more_than_its_share(sizes, classes, share, seed):
    sizes = np.array(sizes)
    strata = np.random.default_rng(seed).integers(0, classes, len(sizes))
    chosen = by_class(strata, sizes, share, seed, 1)
    for number in np.unique(strata):
        assert (~chosen)[strata == number].any()
        assert sizes[chosen & (strata == number)].sum() <= share * sizes[strata == number].sum() + 1


def test_no_flag_is_on_the_validation_side_alone():
    flags = np.zeros((40, 6), dtype=int)
    flags[np.arange(40), np.arange(40) % 3] = 1
    flags[5, 3] = flags[6, 4] = flags[7, 5] = 1
    for seed in range(10):
        chosen = by_flags(flags, 0.5, seed)
        assert flags[~chosen].any(axis=0).all() and 10 < chosen.sum() < 30


@pytest.mark.parametrize("labels", [["a", "b"], ["a"] * 5 + ["b"] * 5])
def test_what_cannot_be_divided(labels):
    with pytest.raises(UserError, match="leaves no validation rows"):
        split_rows(rows_of(labels, ["the same"] * len(labels)), data_of())


@pytest.fixture
def file(tmp_path):
    lines = [json.dumps({"id": k, "text": f"text {k}", "label": "ab"[k % 2]}) for k in range(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "train.jsonl")


def test_the_same_rows_wherever_they_are_asked_for(file):
    """At once, one part alone, and by what a checkpoint records."""
    data = data_of(0.2, seed=7, train_file=file, max_eval_samples=5)
    both = read_splits(data, ["train", "validation", "test"])
    assert [len(both[name]) for name in both] == [32, 5, 0]
    for split, rows in both.items():
        assert load_rows(data, split) == rows
    task = training_task(both["train"], data)
    sha256 = dataset_sha256(build_dataset(both["train"], data, task))
    config = {
        "train_file": file,
        "validation_split": 0.2,
        "seed": 7,
        "max_eval_samples": 5,
        "learning_rate": 1.0,
    }
    assert (
        recorded_rows(config, task, sha256)
        == rows_kept_back(data, task, sha256)
        == both["validation"]
    )
    assert recorded_rows({"train_file": file, "validation_file": file}, task, sha256) == []
    with open(file, "a") as stream:
        stream.write('\n{"id": 99, "text": "new", "label": "a"}\n')
    with pytest.raises(
        UserError,
        match=r"validation_split 0.2 of .*train.jsonl \(seed 7\): the model was not trained",
    ):
        recorded_rows(config, task, sha256)


def test_max_train_samples_come_first(file):
    data = data_of(0.5, train_file=file, max_train_samples=10)
    parts = read_splits(data, ["train", "validation"])
    assert sorted(row.values["id"] for part in parts.values() for row in part) == list(range(10))


def flags_of(file):
    """Flags of a training on one file."""
    return [
        "--train_file",
        file,
        "--output_dir",
        "o",
        "--from_scratch",
        "tiny",
        "--report_to",
        "none",
    ]


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--validation_split", "1.5"], "validation_split 1.5 is out of range"),
        (["--validation_split", "-0.1"], "validation_split -0.1 is out of range"),
        (
            ["--validation_split", "0.1", "--validation_file", "FILE"],
            "validation_split 0.1 and validation_file",
        ),
        (["--validation_split", "0.1", "--folds", "3"], "validation_split 0.1 and folds 3"),
        (
            ["--validation_split", "0.1", "--streaming", "true", "--max_steps", "3"],
            "streaming true",
        ),
        (["--eval_strategy", "epoch", "--validation_split", "0"], "there is no validation_file"),
    ],
)
def test_contradictions(file, flags, words):
    argv = flags_of(file)
    with pytest.raises(UserError, match=words):
        parse(argv + [file if flag == "FILE" else flag for flag in flags])


def test_the_seed_is_that_of_the_run(file):
    argv = flags_of(file)
    args = parse(
        [
            *argv,
            "--validation_split",
            "0.1",
            "--seed",
            "5",
            "--eval_strategy",
            "epoch",
            "--seeds",
            "1",
            "2",
        ]
    )
    assert args.data.split_seed == 5
