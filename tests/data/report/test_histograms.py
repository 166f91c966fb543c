"""What the pictures of a data report show."""

import numpy as np
import pytest
from matplotlib.text import Text

from trainer_ext.data.report import histograms


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The figures that would have been written."""
    figures: list = []
    monkeypatch.setattr(histograms, "save", lambda figure, path: figures.append(figure))
    return figures


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_bars_are_labelled_with_whole_numbers(drawn):
    """Also those of files of millions of rows, and of a class that a file does not have."""
    histograms.class_bars({"train": {"a": 1234567, "b": 2}, "dev": {"b": 3}}, "label", None)
    bars, texts = drawn[0].axes[0].patches, texts_of(drawn[0])
    assert [bar.get_width() for bar in bars] == [1234567, 2, 0, 3]
    assert {"1234567", "2", "0", "3"} <= set(texts)
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["a", "b"]


def test_shares_of_aspects_add_up(drawn):
    """By name, whatever their order in the file; a column without rows has no bar."""
    classes = {"food": {"1": 3, "0": 1}, "staff": {"0": 2}, "room": {}}
    histograms.aspect_bars(classes, "f", None)
    axis = drawn[0].axes[0]
    zero, one = axis.containers
    assert [bar.get_width() for bar in zero] == [0.25, 1, 0]
    assert [(bar.get_x(), bar.get_width()) for bar in one] == [(0.25, 0.75), (1, 0), (0, 0)]
    assert [text.get_text().strip() for text in axis.get_legend().get_texts()] == ["0", "1"]


def test_bins_hold_all_but_the_longest_texts():
    assert histograms.bin_edges([]) == list(range(11))
    edges = histograms.bin_edges([[5] * 199 + [10000], [], [40]])
    assert edges == list(range(41)), "no bin is narrower than 1"
    edges = histograms.bin_edges([[1000] * 3])
    assert (edges[0], edges[-1], len(edges)) == (0, 1000, histograms.BINS + 1)


def test_scores_on_a_scale_of_few_steps_stay_apart():
    scores, bins = histograms.histogram_of([1.0, 1.5, 2.0, float("nan"), float("inf")])
    assert scores.tolist() == [1.0, 1.5, 2.0] and bins == 10
    assert histograms.histogram_of(np.arange(8))[1] == 15
    assert histograms.histogram_of(np.arange(100))[1] == histograms.TARGET_BINS
