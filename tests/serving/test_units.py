"""Batches and names by literal values, and what falls between two models."""

import asyncio

import pytest

from tests.inference.conftest import tiny_model  # noqa: F401  (a fixture)
from trainer_ext.errors import UserError
from trainer_ext.serving.answers import ask_text
from trainer_ext.serving.batching import token_batches
from trainer_ext.serving.door import Visit
from trainer_ext.serving.limits import Limits
from trainer_ext.serving.metrics import Metrics
from trainer_ext.serving.model import Models
from trainer_ext.serving.schemas import TextBody
from trainer_ext.serving.service import Service
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


class Replaced(dict):
    """Models of which the first look-up finds one that was replaced since."""

    def __init__(self, old, new):
        super().__init__(films=new)
        self.found = iter([old, new])

    @property
    def first(self):
        return next(self.found)


def test_a_request_between_two_models_goes_to_the_new_one(tiny_model):  # noqa: F811
    """The old one was looked up, and then closed."""
    limits = Limits()
    metrics = Metrics()
    settings = {"provider": "cpu", "num_threads": 1, "on_mismatch": "float"}
    sources = [Source("films", str(tiny_model))]
    old = Models(sources, settings, limits, metrics)
    new = Models(sources, settings, limits, metrics)
    old.close()
    service = Service(Replaced(old.first, new.first), limits, metrics)

    async def ask() -> list:
        visit = Visit("id")
        _, _, job = service._submit(TextBody(text="good food"), ask_text, visit)
        assert visit.job is job
        return await job.future

    (answer,) = asyncio.run(ask())
    assert answer["pred_class"] == "pos"
    new.close()
