"""Lengths and the max_length that follows from them."""

import io

import pytest

from tests.data.preprocessing.test_tokenize import make_tokenizer
from tests.remote_code import add_tokenizer_code
from trainer_ext.data.report.lengths import (
    Lengths,
    counter_of,
    estimate,
    percentiles,
    token_counter,
)
from trainer_ext.errors import UserError


def test_estimate():
    """Characters of Chinese, 1.3 a word else, and two special tokens."""
    assert estimate(["好吃", "", "great food", ["play", "moon"]]) == [4, 2, 5, 5]


def test_units():
    lengths = Lengths(counter_of(make_tokenizer()))
    lengths.add(["a b", "a  b c"])
    lengths.add([["ab", "c"]])
    assert {unit: list(values) for unit, values in lengths.values.items()} == {
        "tokens": [4, 5, 4],
        "characters": [3, 6, 3],
        "words": [2, 3, 2],
    }
    assert lengths.summary()["unit"] == "tokens"


@pytest.mark.parametrize(
    "tokens, recommended, coverage",
    [
        ([10] * 100, 64, {"64": 1.0}),
        ([10] * 98 + [65, 97], 96, {"64": 0.98, "96": 0.99, "128": 1.0}),
        ([64] * 99 + [600], 64, {"64": 0.99, "512": 0.99}),
        ([300, 900], 512, {"256": 0.0, "384": 0.5, "512": 0.5}),
    ],
)
def test_recommendation(tokens, recommended, coverage):
    """The smallest that leaves 99% whole, else the largest."""
    lengths = Lengths(lambda texts: tokens)
    lengths.add([""] * len(tokens))
    summary = lengths.summary()
    assert summary["recommended_max_length"] == recommended
    assert {name: summary["coverage"][name] for name in coverage} == coverage


def test_percentiles():
    """Lengths that occur, not what lies between them."""
    found = percentiles(list(range(1, 101)))
    assert found == {
        "min": 1, "p5": 5, "p25": 25, "p50": 50, "p75": 75, "p90": 90, "p95": 95, "p99": 99, "max": 100, "mean": 50.5
    }  # fmt: skip
    assert percentiles([]) == {}


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(UserError, match="has no tokenizer"):
        token_counter(str(tmp_path))


def test_code_of_a_folder_is_not_run(tmp_path, monkeypatch):
    """Also when somebody, or a pipe, would answer yes."""
    make_tokenizer().save_pretrained(tmp_path)
    trace = add_tokenizer_code(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    with pytest.raises(UserError, match="code of its own, which is not run here"):
        token_counter(str(tmp_path))
    assert not trace.exists()
