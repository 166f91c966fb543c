"""Slots in tags against literal cases and against seqeval's own conditions, written out here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.errors import UserError
from trainer_ext.tasks.entities import check_tag, entities, slot_f1

CASES = {
    "": [],
    "O O": [],
    "B-a I-a O B-b": [(0, 2, "a"), (3, 4, "b")],
    "B-a B-a": [(0, 1, "a"), (1, 2, "a")],
    "B-a I-a": [(0, 2, "a")],
    # ill-formed BIO: I without B begins a slot, another name ends it
    "I-a I-a O": [(0, 2, "a")],
    "O I-a B-a": [(1, 2, "a"), (2, 3, "a")],
    "B-a I-b I-b": [(0, 1, "a"), (1, 3, "b")],
    "B-a O I-a": [(0, 1, "a"), (2, 3, "a")],
    # BIOES
    "B-a I-a E-a S-b": [(0, 3, "a"), (3, 4, "b")],
    "S-a S-a": [(0, 1, "a"), (1, 2, "a")],
    "B-a E-a E-a": [(0, 2, "a"), (2, 3, "a")],
    "B-a E-a I-a": [(0, 2, "a"), (2, 3, "a")],
    "E-a": [(0, 1, "a")],
    "S-a I-a E-a": [(0, 1, "a"), (1, 3, "a")],
    "B-a S-a O": [(0, 1, "a"), (1, 2, "a")],
    "B-a E-b": [(0, 1, "a"), (1, 2, "b")],
    # a name may hold a hyphen
    "B-a-b I-a-b": [(0, 2, "a-b")],
}
TAGS = st.lists(
    st.sampled_from(["O", *(f"{prefix}-{name}" for prefix in "BIES" for name in "ab")]), max_size=8
)


@pytest.mark.parametrize("tags", CASES)
def test_literal_cases(tags):
    assert entities(tags.split()) == CASES[tags]


def seqeval_entities(tags: list[str]) -> list[tuple[int, int, str]]:
    """The conditions of seqeval 1.2.2, `end_of_chunk` and `start_of_chunk`, as tables of (previous tag, tag)."""
    ends = {"BB", "BS", "BO", "IB", "IS", "IO"}
    starts = {"EE", "EI", "SE", "SI", "OE", "OI"}
    found, begin, previous, previous_name = [], 0, "O", "_"
    for k, text in enumerate([*tags, "O"]):
        tag, name = text[0], text[1:].split("-", maxsplit=1)[-1] or "_"
        other_name = previous_name != name
        if previous in "ES" or previous + tag in ends or (previous != "O" and other_name):
            found.append((begin, k, previous_name))
        if tag in "BS" or previous + tag in starts or (tag != "O" and other_name):
            begin = k
        previous, previous_name = tag, name
    return found


@given(TAGS)
def test_equals_seqeval_on_any_tags(tags):
    assert entities(tags) == seqeval_entities(tags)


def test_f1_counts_slots_of_all_rows_together():
    """2 slots right of 3 predicted and 4 true: 2 * 2 / 7."""
    pairs = [
        (["B-a", "I-a", "O", "B-b"], ["B-a", "I-a", "O", "B-c"]),
        (["B-a", "B-b"], ["B-a", "O"]),
    ]
    assert slot_f1(pairs) == pytest.approx(4 / 7)


def test_a_slot_counts_only_with_the_same_bounds_and_row():
    assert slot_f1([(["B-a", "I-a"], ["B-a", "O"])]) == 0
    assert slot_f1([(["B-a", "O"], ["O", "B-a"])]) == 0
    assert slot_f1([(["B-a"], ["O"]), (["O"], ["B-a"])]) == 0


def test_f1_without_any_slot_is_zero_as_in_seqeval():
    assert slot_f1([(["O"], ["O"])]) == 0


@pytest.mark.parametrize("tag", ["O", "B-a", "I-a.b_c", "E-a-b", "S-歌手"])
def test_tags(tag):
    assert check_tag(tag) == tag


@pytest.mark.parametrize(
    "tag", ["", "o", "B", "B-", "X-a", "B a", "b-a", "O-a", "B-a b", "artist", None, 3]
)
def test_what_is_no_tag_is_refused_with_its_value(tag):
    with pytest.raises(UserError, match="is not a tag") as caught:
        check_tag(tag)
    assert repr(tag) in str(caught.value)
