"""Lists of labels as people's files hold them: flags, and what pandas and numpy leave of a list in csv."""

import contextlib
import itertools
import json
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import label_space, texts_and_labels
from trainer_ext.errors import UserError
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.label_lists import labels_of
from trainer_ext.tasks.multi_label import MultiLabel

NAMES = ["toxic", "threat", "praise"]


def rows(*labels) -> list[Row]:
    return [
        Row({"text": "t", "labels": value}, f"a.csv, row {k}") for k, value in enumerate(labels, 1)
    ]


def encoded(values, names=None):
    """Classes, and what each row is encoded as."""
    data = rows(*values)
    task = MultiLabel(label_space(data, ["labels"], names, MultiLabel))
    return task.label_space.classes, texts_and_labels(data, "text", task)[1]


@pytest.mark.parametrize(
    "text, labels",
    [
        ("['a', 'b']", ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),  # numpy's; Python would join them to 'ab'
        ("['a'\n 'b']", ["a", "b"]),
        ("['it\\'s' \"on\"]", ["it's", "on"]),
        ("[1. 0. 0.]", [1.0, 0.0, 0.0]),
        ("[ True False]", [True, False]),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("(1, 2)", [1, 2]),
        ("{'b', 'a'}", ["a", "b"]),
        ("'a', 'b'", ["a", "b"]),
        ("set()", []),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array(['a', 'b'], dtype='<U1')", ["a", "b"]),
        ("tensor([1., 0.])", [1.0, 0.0]),
        ("tensor([1, 0], device='cuda:0')", [1, 0]),
        ("frozenset({'a', 'b'})", ["a", "b"]),
        ("[np.str_('a'), np.str_('b')]", ["a", "b"]),
        ("[np.float64(1.0), np.int64(0)]", [1.0, 0]),
        ("set (music), array", ["set (music)", "array"]),
        ("()", []),
        ("[]", []),
        ("[ ]", []),
        ("", []),
        ("a, b", ["a", "b"]),
        ("(sic), (other)", ["(sic)", "(other)"]),
        ("rock [live], pop", ["rock [live]", "pop"]),
    ],
)
def test_how_a_list_may_be_written(text, labels):
    assert labels_of(text, ",") == labels


@pytest.mark.parametrize(
    "value",
    [
        "['a', 'b'",
        "[a, b]",
        "{a,b}",
        "(a, b)",
        "['a' 'b' ... 'z']",
        "nan",
        "None",
        "<NA>",
        "['a', nan]",
        "['a', None]",
        "['a', '']",
        "[['a'], ['b']]",
        "{'a': 1}",
        '{"a": 1}',
        "[0.3, 0.0, 1.0]",
        "['a', 'a']",
        "[" * 50_000 + "]" * 50_000,
        "[" + "9" * 5000 + "]",
        ["a", None],
        ["a", float("nan")],
        ["a", "a"],
        {"a": 1},
        [{"a": 1}],
        [b"a"],
    ],
)
def test_what_is_no_list_is_refused_with_its_row(value):
    with pytest.raises(UserError, match=r"^a.csv, row 2: ") as caught:
        encoded([["a", "b"], value, ["b"]])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    task = MultiLabel(LabelSpace.from_names(["labels"], ["a", "b", "z"]))
    with pytest.raises(UserError, match=r"^a.csv, row 1: column 'labels'"):
        texts_and_labels(rows(value), "text", task)


def test_a_named_class_may_look_like_anything():
    names = ["None", "[A]", "{b", "a, b"]
    assert encoded(["None", "[A]", "{b", "a, b", '["None", "[A]"]'], names)[1] == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [1, 1, 0, 0],
    ]


@pytest.mark.parametrize(
    "write",
    [
        list,
        json.dumps,
        str,
        lambda flags: [float(x) for x in flags],
        lambda flags: [bool(x) for x in flags],
    ]
    + [lambda flags: str(np.array(flags)), lambda flags: str(np.array(flags, dtype=float))]
    + [lambda flags: str(tuple(flags)), lambda flags: ",".join(map(str, flags)), tuple],
)
def test_flags_of_classes(write):
    flags = [[0, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert encoded(map(write, flags)) == (("0", "1", "2"), flags)
    assert encoded(map(write, flags), NAMES) == (tuple(NAMES), flags)


def test_a_separator_of_its_own():
    flags = [[0, 0, 0], [1, 0, 0], [0, 1, 1]]
    data = rows(*(" ".join(map(str, row)) for row in flags))
    task = MultiLabel(label_space(data, ["labels"], NAMES, MultiLabel, " "))
    assert texts_and_labels(data, "text", task)[1] == flags


@pytest.mark.parametrize(
    "values, classes, expected",
    [
        ([[0], [1], [0, 1]], ("0", "1"), [[1, 0], [0, 1], [1, 1]]),  # of two lengths: ids
        ([[0], [1]], ("0", "1"), [[1, 0], [0, 1]]),  # of one: an id each
        ([[0, 1], [1, 2]], ("0", "1", "2"), [[1, 1, 0], [0, 1, 1]]),  # not 0 and 1 alone
        (
            [[0, 1], [1, 0]],
            ("0", "1"),
            [[0, 1], [1, 0]],
        ),  # as ids every row would have both classes
        ([[0, 1], [], [1]], ("0", "1"), [[1, 1], [0, 0], [0, 1]]),
        (["0", "1", "0,1"], ("0", "1"), [[1, 0], [0, 1], [1, 1]]),
        ([["0", "1"], ["a"]], ("0", "1", "a"), [[1, 1, 0], [0, 0, 1]]),
    ],
)
def test_flags_or_ids(values, classes, expected):
    assert encoded(values) == (classes, expected)


@pytest.mark.parametrize(
    "values, message",
    [
        ([[1, 0, 0], [1, 0]], "a.csv, row 2: .*of one length"),
        ([[1, 0], [1, 0, 0]], "a.csv, row 2: .*of one length"),
        ([[1, 0, 0], ["a", "b"]], "a.csv, row 2: .*of 0 and 1"),
        ([[1, 0, 0], [0, 0, 2]], r"a.csv, row 2: .*\[0, 0, 2\]"),
        ([[1, 0, 0], []], r"a.csv, row 2: .*not a list of 3 flags"),
        ([[1, 0, 0], ""], r"a.csv, row 2: .*not a list of 3 flags"),
    ],
)
def test_neither_flags_nor_ids(values, message):
    with pytest.raises(UserError, match=message):
        encoded(values)


@pytest.mark.parametrize("separator", [";", " ", "|", "/"])
def test_flags_that_were_not_cut(separator):
    values = [separator.join(flags) for flags in ("100", "000", "011")]
    with pytest.raises(UserError, match="made of 0 and 1 with .*--label_separator .* reads them"):
        encoded(values)
    # Whoever names them so means it.
    assert encoded(values, values)[1] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert encoded([*values, "other"])[0] == (*sorted(values), "other")


def test_counts_are_not_class_ids():
    with pytest.raises(UserError, match="row 1: the list .* has '0' more than once"):
        encoded(["3,0,0", "0,2,0"])


@pytest.mark.parametrize("names", [None, NAMES])
def test_answers_of_flags_are_read_back(names):
    task = MultiLabel(label_space(rows([1, 0, 0], [0, 0, 1]), ["labels"], names, MultiLabel))
    classes = task.label_space.classes
    for flags in itertools.product((0, 1), repeat=3):
        # Named classes leave the cell of a row without any empty, as submissions want it.
        if names and not any(flags):
            continue
        labels = list(itertools.compress(classes, flags))
        assert texts_and_labels(rows(task.join(labels)), "text", task)[1] == [list(flags)]


def test_flags_of_another_number_of_classes():
    with pytest.raises(
        UserError, match="every list has 3 values.*flags of 3 classes, but label_names gives 2"
    ):
        encoded([[1, 0, 0], [0, 0, 0]], ["a", "b"])


def test_later_rows_are_read_as_the_training_rows_were():
    task = MultiLabel(label_space(rows([1, 0, 0], [0, 0, 1]), ["labels"], NAMES, MultiLabel))
    assert task.label_space.to_dict()["flags"] is True
    task = MultiLabel(LabelSpace.from_dict(json.loads(json.dumps(task.label_space.to_dict()))))
    assert texts_and_labels(rows([1, 1, 0], ["praise"], "praise, toxic"), "text", task)[1] == [
        [1, 1, 0],
        [0, 0, 1],
        [1, 0, 1],
    ]
    for value in ([1, 0], [1, 0, 2], [0], ["anger"]):
        with pytest.raises(
            UserError, match="a.csv, row 1: column 'labels': .* is not a list of 3 flags"
        ):
            texts_and_labels(rows(value), "text", task)
    names = MultiLabel(
        label_space(rows(["toxic"], ["threat", "praise"]), ["labels"], None, MultiLabel)
    )
    assert "flags" not in names.label_space.to_dict()
    with pytest.raises(UserError, match="more than once"):
        texts_and_labels(rows([1, 0, 0]), "text", names)


@pytest.mark.parametrize("name", ["01/multihot.jsonl", "01/multihot.csv", "02/labels.csv"])
def test_published_specimens(name, tmp_path):
    """Written anew here, as the files of users look."""
    lists = {"01": [[0, 0, 0], [1, 0, 0], [0, 0, 1]], "02": [[], ["toxic"], ["praise", "toxic"]]}[
        name[:2]
    ]
    path = tmp_path / Path(name).name
    if name.endswith("jsonl"):
        path.write_text(
            "".join(json.dumps({"text": "t", "labels": labels}) + "\n" for labels in lists)
        )
    else:
        path.write_text("text,labels\n" + "".join(f't,"{labels}"\n' for labels in lists))
    from trainer_ext.data.labelled import labelled_rows

    data = list(labelled_rows(str(path), MultiLabel, "text", ["labels"]))
    classes = label_space(data, ["labels"], None, MultiLabel).classes
    assert classes == (("0", "1", "2") if name[:2] == "01" else ("praise", "toxic"))


WORDS = st.lists(
    st.text(string.printable, min_size=1).filter(str.strip), max_size=5, unique_by=str.strip
)


@given(WORDS)
def test_whatever_python_and_json_write_is_read_back(words):
    for text in (json.dumps(words), repr(words), repr(tuple(words))):
        assert labels_of(text, ",") == words


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(UserError):
        assert isinstance(labels_of(text, ","), list)
