"""Tables and plots."""

import warnings

import numpy as np

from trainer_ext.figures import shown
from trainer_ext.reports import plots
from trainer_ext.reports.tables import metrics_table, table


def test_table_aligns_wide_characters_and_formats_floats():
    lines = table([["味道", 0.5], ["abcd", 12]], ["text", "value"]).splitlines()
    assert lines[2].split() == ["味道", "0.5000"] and lines[3].split() == ["abcd", "12"]
    assert lines[2].index("0.5000") + 2 == lines[3].index("    12"), "a Chinese character is two columns wide"
    assert table([], ["a"]).splitlines()[0].strip() == "a"


def test_metrics_table_puts_splits_side_by_side():
    metrics = {"eval_f1_a": 0.1, "eval_f1_macro": 0.5, "test_f1_macro": 0.25, "best_step": 12, "precision": "bf16"}
    lines = metrics_table(metrics).splitlines()
    assert lines[0].split() == ["metric", "validation", "test"]
    assert lines[2].split() == ["f1_macro", "0.5000", "0.2500"]
    assert lines[3].split() == ["f1_a", "0.1000"]
    assert lines[-1] == "best_step 12, precision bf16"


def test_plots_are_png_files(tmp_path):
    history = [{"step": 1, "loss": 1.0, "loss_focal": 0.9}, {"step": 2, "eval_loss": 0.8, "eval_f1_macro": 0.3}]
    plots.learning_curves(history, "f1_macro", 2, tmp_path / "a.png")
    plots.learning_curves([], "f1_macro", None, tmp_path / "b.png")
    plots.confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), ["a", "b"], tmp_path / "c.png")
    plots.confusion_matrix(np.arange(40), np.arange(40), [str(k) for k in range(40)], tmp_path / "d.png")
    plots.bars({"x": 0.2, "y": 0.9}, 0.55, "title", tmp_path / "e.png")
    for name in "abcde":
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_names_that_no_font_has_are_numbers_and_nothing_is_said_on_stderr(tmp_path):
    assert shown(["x", "\U000f0000"])[0] == ["x", "#2"]
    names = ["一般", "\U000f0000"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion_matrix(np.array([0, 1]), np.array([0, 1]), names, tmp_path / "a.png")
        plots.scatter(np.array([[1.0, 2], [2, 3]]), np.array([[1.0, 2], [2, 3]]), names, tmp_path / "b.png")
        plots.bars(dict.fromkeys(names, 0.5), 0.5, "title", tmp_path / "c.png")


def test_bars_are_in_the_order_of_their_scores_under_their_own_numbers(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plots.bars({"\U000f0000": 0.9, "\U000f0001": 0.1}, 0.5, "title", None)
    assert [label.get_text() for label in figures[0].axes[0].get_yticklabels()] == ["#2", "#1"]


def test_learning_curves_of_a_run_that_logged_nothing_say_so(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plots.learning_curves([{"step": 2, "eval_loss": 0.8, "eval_f1_macro": 0.3}], "f1_macro", 2, None)
    plots.learning_curves([{"step": 1, "loss": 0.8}], "f1_macro", None, None)
    left, right = ([[text.get_text() for text in figure.axes[k].texts] for figure in figures] for k in (0, 1))
    assert "nothing was logged" in left[0][0] and left[1] == []
    assert "nothing was evaluated" in right[1][0] and right[0] == []
