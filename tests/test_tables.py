"""Tables on the screen: as the reference library draws them."""

from hypothesis import given
from hypothesis import strategies as st
from tabulate import tabulate

from trainer_ext.tables import display_width, table


def test_numbers_to_the_right_and_wide_characters_count_as_two():
    """Headers stand as their columns do; nothing at the end of a line."""
    assert table([["味道好", 0.51234, 7], ["a", 12.0, None]], ["text", "score", "n"]) == (
        "text      score    n\n------  -------  ---\n味道好   0.5123    7\na       12.0000"
    )


def test_no_rows():
    """The headers remain."""
    assert table([], ["a", "bc"]) == "a    bc\n---  ----"


def test_a_text_cannot_steer_the_terminal():
    """Codes in the place of characters, in cells and in headers."""
    assert table([["a\x1b[2Jb\nc"]], ["h\r"]) == "h\\r\n------------\na\\x1b[2Jb\\nc"


def test_widths():
    """An accent that is a character of its own, and a joiner, take no column."""
    assert [display_width(text) for text in ("abc", "é", "e\u0301", "好a", "ｆ", "a\u200db")] == [
        *(3, 1, 1, 3, 2, 2)
    ]


CELL = st.one_of(
    st.text("ab 1.-é好吃，", max_size=8),
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6),
)


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5), st.text("ab好", min_size=1))
def test_as_the_reference_draws_them(rows, header):
    """Given formatted cells and the side of each column."""
    headers = [header, "b", "c"]
    sides = ["right" if isinstance(cell, (int, float)) else "left" for cell in rows[0]]
    cells = []
    for row in rows:
        cells.append([f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row])
    expected = tabulate(
        cells, headers=headers, tablefmt="simple", disable_numparse=True, colalign=sides
    )
    lines = [line.rstrip() for line in expected.split("\n")]
    assert table(rows, headers).split("\n") == lines
