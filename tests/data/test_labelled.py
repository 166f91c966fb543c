"""Labels: from what stands in a file to indices, the same way in training and prediction."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import drop_missing, label_space, raw_label, texts_and_labels
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.label_space import is_number, normalise
from trainer_ext.tasks.multi_aspect import MultiAspect
from trainer_ext.tasks.single_label import SingleLabel

POLARITIES = ["not_mentioned=-2", "negative=-1", "neutral=0", "positive=1"]


def rows(*values: dict) -> list[Row]:
    """Rows of a file rows.csv."""
    return [
        Row(dict(value), f"rows.csv, row {number} (line {number + 1})")
        for number, value in enumerate(values, 1)
    ]


# --- label spaces ---------------------------------------------------------------------------------------------------


def test_names_or_their_positions():
    """A file may hold the names, or 0 to n-1."""
    space = LabelSpace.from_names(["label"], ["finance", "sports", "games"])
    assert space.classes == space.values == ("finance", "sports", "games")
    assert [space.encode(v) for v in ("sports", " games ", "0", "2", "1.0")] == [1, 2, 0, 2, 1]
    assert space.expected() == "one of finance, sports, games or 0 to 2"
    for unknown in ("3", "-1", "Sports", "", "1.5"):
        with pytest.raises(KeyError):
            space.encode(unknown)


def test_a_row_without_labels_is_left_out_unless_there_may_be_none():
    rows = [
        Row({"text": text, "label": label}, "x, row 1")
        for text, label in (("a", ""), ("", "joy"), ("b", "joy"))
    ]
    for task, kept in (("multi_label", ["a", "b"]), ("single_label", ["b"])):
        found = drop_missing(rows, TASKS[task], "text", ["label"], "x")
        assert [row.values["text"] for row in found] == kept


def test_a_number_among_the_names_is_a_name_and_no_position():
    space = LabelSpace.from_names(["label"], ["x", "2", "0"])
    assert [space.encode(value) for value in ("x", "2", "0")] == [0, 1, 2]
    with pytest.raises(KeyError):
        space.encode("1")


def test_names_with_values():
    """`positive=1`: the value or the name, but no position."""
    space = LabelSpace.from_names(["a", "b"], POLARITIES)
    assert space.columns == ("a", "b")
    assert space.classes == ("not_mentioned", "negative", "neutral", "positive")
    assert space.values == ("-2", "-1", "0", "1")
    assert [space.encode(v) for v in ("-2", "-1", "0", "1", "1.0", "-2.0", "neutral")] == [
        0,
        1,
        2,
        3,
        3,
        0,
        2,
    ]
    assert space.expected() == "one of -2, -1, 0, 1"
    for unknown in ("2", "3", "-3"):
        with pytest.raises(KeyError):
            space.encode(unknown)


def test_a_value_may_hold_an_equals_sign_in_its_name():
    """Split at the last one."""
    assert LabelSpace.from_names(["l"], ["a=b=1", "c=2"]).classes == ("a=b", "c")


def test_values_are_sorted_as_numbers():
    """-2, -1, 0, 1 and not -1, -2, 0, 1; 1.0 is 1."""
    space = LabelSpace.from_values(["l"], ["1", "-2", "0", "1.0", "-1", "10"])
    assert space.classes == space.values == ("-2", "-1", "0", "1", "10")
    assert space.encode("1.0") == space.encode("1") == 3


def test_values_that_are_no_numbers_are_sorted_as_text():
    """nan and inf are words here, not numbers."""
    assert LabelSpace.from_values(["l"], ["b", "10", "a", "9", "nan"]).classes == (
        "10",
        "9",
        "a",
        "b",
        "nan",
    )
    assert LabelSpace.from_values(["l"], ["nan", "inf", "1"]).classes == ("1", "inf", "nan")


def test_equal_numbers_keep_one_order():
    """Not the order of a set, which changes from process to process."""
    assert LabelSpace.from_values(["l"], ["1", "01", "001", "0"]).classes == ("0", "001", "01", "1")


@pytest.mark.parametrize(
    "names", [["1", "2", "3", "4", "5"], ["-2", "-1", "0", "1"], ["0.5", "1.5"]]
)
def test_numbers_as_classes_leave_no_positions(names):
    """With stars 1 to 5 an unknown `0` is an error, not the first class; with -2..1 a `2` is not the third."""
    for space in (LabelSpace.from_names(["l"], names), LabelSpace.from_values(["l"], names)):
        assert [space.encode(name) for name in names] == list(range(len(names)))
        for unknown in {"0", "2", "3"} - set(names):
            with pytest.raises(KeyError):
                space.encode(unknown)
        assert "or 0 to" not in space.expected()


def test_names_that_yaml_made_numbers():
    """`label_names: [1.0, 2.0]` is 1 and 2, as the same values in a file are."""
    space = LabelSpace.from_names(["l"], ["1.0", "2.0"])
    assert [space.encode(v) for v in ("1.0", "1", "2.0", "2")] == [0, 0, 1, 1]


def test_long_lists_are_cut_in_messages():
    """Twelve are shown."""
    assert (
        LabelSpace.from_names(["l"], [f"c{k}" for k in range(20)])
        .expected()
        .endswith("c11, ... or 0 to 19")
    )


def test_mixed_names_are_refused():
    """All with values, or none."""
    with pytest.raises(UserError, match=r"give every class a value .* \['a', 'b=1'\]"):
        LabelSpace.from_names(["l"], ["a", "b=1"])


@pytest.mark.parametrize(
    "columns, names, what, twice",
    [
        (["l"], ["a", "b", "a"], "class names", "a"),
        (["l"], ["a=1", "b=1.0"], "class values", "1"),
        (["l"], ["a", " a"], "class names", "a"),
        (["x", "y", "x"], ["a", "b"], "columns", "x"),
    ],
)
def test_duplicates_are_refused(columns, names, what, twice):
    """Naming what is there twice."""
    with pytest.raises(UserError, match=rf"{what} must differ, but \['{twice}'\] occur twice"):
        LabelSpace.from_names(columns, names)


def test_one_class_is_no_task():
    """Nothing to learn: a wrong column, most likely."""
    with pytest.raises(UserError, match=r"label columns \['l'\] hold one class only: \['a'\]"):
        LabelSpace.from_values(["l"], ["a", "a", " a "])


LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(normalise).filter(bool)


@given(
    st.lists(LABELS, min_size=2, max_size=6, unique=True),
    st.lists(LABELS, min_size=1, max_size=3, unique=True),
)
def test_dict_round_trip(classes, columns):
    """As stored in a checkpoint, through JSON types."""
    space = LabelSpace.from_values(columns, classes)
    stored = space.to_dict()
    assert all(type(items) is list for items in stored.values())
    assert LabelSpace.from_dict(stored) == space


@given(st.lists(LABELS, min_size=2, max_size=6, unique=True), st.randoms())
def test_values_in_any_order_give_the_same_space(classes, random):
    """The classes do not depend on the order of the rows, and each value is its own class."""
    shuffled = random.sample(classes, len(classes))
    space = LabelSpace.from_values(["l"], classes)
    assert space == LabelSpace.from_values(["l"], shuffled)
    assert sorted(space.encode(value) for value in classes) == list(range(len(classes)))


@given(st.lists(LABELS.filter(lambda name: "=" not in name), min_size=2, max_size=6, unique=True))
def test_names_encode_to_their_places(names):
    """Also names that look like positions of other names."""
    space = LabelSpace.from_names(["l"], names)
    assert [space.encode(name) for name in names] == list(range(len(names)))


@given(st.integers())
def test_normalise(number):
    """`1.0` is `1`, and nothing else changes but space around it."""
    assert normalise(number) == normalise(f" {number}.0\n") == str(number)
    assert normalise("v1.0") == "v1.0" and normalise("1.50") == "1.50"


@given(
    st.one_of(st.text(), st.floats(allow_nan=False, allow_infinity=False).map(lambda x: f"{x:.3f}"))
)
def test_is_number_takes_what_float_takes(text):
    """Whatever is a number here can be sorted as one."""
    assume(is_number(text))
    float(text)


# --- rows -----------------------------------------------------------------------------------------------------------


def test_label_space_of_rows():
    """Names win over values; several columns share one space."""
    data = rows({"x": "1", "y": "0"}, {"x": "-1", "y": "1"})
    assert label_space(data, ["x", "y"], None).classes == ("-1", "0", "1")
    assert label_space(data, ["x", "y"], ["no=-1", "yes=1"]).classes == ("no", "yes")


@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_missing_label(value):
    """An empty field, JSON null and parquet's NaN, with file, row and column."""
    data = rows({"text": "a", "label": "x"}, {"text": "b", "label": value})
    message = r"^rows.csv, row 2 \(line 3\): the label in column 'label' is missing \(--drop_missing leaves"
    with pytest.raises(UserError, match=message):
        label_space(data, ["label"], None)
    task = SingleLabel(LabelSpace.from_names(["label"], ["x", "y"]))
    with pytest.raises(UserError, match=message):
        texts_and_labels(data, "text", task)


def test_missing_column():
    """A jsonl row may lack the key."""
    with pytest.raises(UserError, match="the label in column 'label' is missing"):
        raw_label(rows({"text": "a"})[0], "label")


@pytest.mark.parametrize(
    "value, text", [(1, "1"), (0, "0"), (1.0, "1.0"), (True, "True"), ("x", "x")]
)
def test_raw_label_of_other_types(value, text):
    """jsonl and parquet hold numbers; 0 is a label."""
    assert raw_label(rows({"label": value})[0], "label") == text


@pytest.mark.parametrize("task", ["single_label", "multi_label", "multi_aspect"])
def test_bytes_are_no_label(task):
    row = Row({"label": b"good"}, "a.parquet, row 3")
    with pytest.raises(UserError, match="a.parquet, row 3: column 'label' has bytes, b'good'"):
        raw_label(row, "label", TASKS[task])


def test_single_labels():
    """One index a row."""
    task = SingleLabel(LabelSpace.from_names(["label"], ["x", "y"]))
    data = rows({"text": "a", "label": "y"}, {"text": "b", "label": 0})
    assert texts_and_labels(data, "text", task) == (["a", "b"], [1, 0])


def test_aspect_labels():
    """One index a column, in the order of the columns and not of the file."""
    task = MultiAspect(LabelSpace.from_names(["taste", "price"], POLARITIES))
    data = rows(
        {"price": "-2", "text": "a", "taste": "1"},
        {"price": "0.0", "text": "b", "taste": "negative"},
    )
    assert texts_and_labels(data, "text", task) == (["a", "b"], [[3, 0], [1, 2]])


def test_unknown_label_names_everything():
    """File, row, line, column, value and what was expected."""
    task = MultiAspect(LabelSpace.from_names(["taste", "price"], POLARITIES))
    data = rows(
        {"text": "a", "taste": "1", "price": "0"}, {"text": "b", "taste": "1", "price": "2"}
    )
    with pytest.raises(UserError) as caught:
        texts_and_labels(data, "text", task)
    assert str(caught.value) == (
        "rows.csv, row 2 (line 3): column 'price' has the unknown label '2'; expected one of -2, -1, 0, 1"
    )


def test_empty_text_is_refused():
    """A row to learn from has a text."""
    task = SingleLabel(LabelSpace.from_names(["label"], ["x", "y"]))
    with pytest.raises(UserError, match=r"rows.csv, row 1 \(line 2\): column 'text' is empty"):
        texts_and_labels(rows({"text": " ", "label": "x"}), "text", task)
