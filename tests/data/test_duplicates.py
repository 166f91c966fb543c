"""Repeats, contradictions and leakage, counted by hand."""

from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.data.duplicates import TextIndex, normalised, text_key


def index(*rows: tuple) -> TextIndex:
    made = TextIndex()
    for text, label in rows:
        made.add(text, label)
    return made


def test_normalised():
    assert normalised("  Good\u3000\n FOOD ") == normalised("good food") == "good food"
    assert normalised("Straße") == normalised("STRASSE")


def test_case_and_blanks_make_no_other_text():
    """And half of a surrogate pair, which JSON can hold, is a character like others."""
    assert text_key("A  good\nday ") == text_key("a good day") != text_key("agood day")
    assert text_key("a\ud83d") != text_key("a")


def test_repeats():
    """`a` thrice with two labels, `b` twice with one, `c` once."""
    assert index(("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 1), ("a", 1)).repeats() == {
        "repeated_rows": 3,
        "conflicting_texts": 1,
        "conflicting_rows": 3,
    }


def test_shared():
    """Rows of the second are counted, and labels that differ between the two or within one."""
    first = index(("a", 1), ("b", 1), ("c", 1), ("c", 2))
    second = index(("a", 1), ("a", 1), ("b", 2), ("c", 1), ("d", 1))
    assert first.shared(second) == {"texts": 3, "rows_of_second": 4, "conflicting_texts": 2}
    assert second.shared(first) == {"texts": 3, "rows_of_second": 4, "conflicting_texts": 2}
    assert first.shared(index()) == {"texts": 0, "rows_of_second": 0, "conflicting_texts": 0}


@given(st.lists(st.tuples(st.text(max_size=2), st.integers(0, 1)), max_size=30))
def test_against_plain_python(rows):
    texts = [text for text, _ in rows]
    labels = {text: {label for other, label in rows if other == text} for text in texts}
    conflicts = {text for text in labels if len(labels[text]) > 1}
    assert index(*rows).repeats() == {
        "repeated_rows": len(texts) - len(set(texts)),
        "conflicting_texts": len(conflicts),
        "conflicting_rows": sum(text in conflicts for text in texts),
    }
