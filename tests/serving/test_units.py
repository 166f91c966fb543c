"""Batches and names, by literal values."""

import pytest

from trainer_ext.errors import UserError
from trainer_ext.serving.batching import token_batches
from trainer_ext.serving.sources import Source, default_name, parse_sources


@pytest.mark.parametrize(
    "lengths, most, expected",
    [
        ([], 10, []),
        ([3], 2, [[0]]),
        ([2, 5, 1, 5], 10, [[1, 3], [0, 2]]),
        ([4, 4, 4, 2], 12, [[0, 1, 2], [3]]),
        ([9, 1, 1, 1], 9, [[0], [1, 2, 3]]),
    ],
)
def test_token_batches(lengths, most, expected):
    """Sorted by length, as wide as the longest; a row that is too long runs alone."""
    assert token_batches(lengths, most) == expected


def test_names(tmp_path, monkeypatch):
    """NAME=MODEL, or the last part of a path or a reference."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    given = [
        "runs/films/",
        "n=runs/films",
        "artifact:news:best",
        "wandb:me/project/tones:v1",
        "a=b",
    ]
    assert parse_sources(given) == [
        Source("films", "runs/films/"),
        Source("n", "runs/films"),
        Source("news", "artifact:news:best"),
        Source("tones", "wandb:me/project/tones:v1"),
        Source("a-b", "a=b"),
    ]
    assert default_name("runs/cv/fold-{0..4}") == "fold-0..4"
    with pytest.raises(UserError, match="both called films"):
        parse_sources(["x/films", "films=y"])
