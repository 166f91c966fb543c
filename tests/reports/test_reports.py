"""Tables and plots."""

import numpy as np

from trainer_ext.reports import plots
from trainer_ext.reports.tables import metrics_table, table


def test_table_aligns_wide_characters_and_formats_floats():
    lines = table([["味道", 0.5], ["abcd", 12]], ["text", "value"]).splitlines()
    assert lines[2].split() == ["味道", "0.5000"] and lines[3].split() == ["abcd", "12"]
    assert lines[2].index("0.5000") + 2 == lines[3].index("    12"), "a Chinese character is two columns wide"
    assert table([], ["a"]).splitlines()[0].strip() == "a"


def test_metrics_table_puts_splits_side_by_side():
    metrics = {"eval_f1_a": 0.1, "eval_f1_macro": 0.5, "test_f1_macro": 0.25, "best_step": 12}
    lines = metrics_table(metrics).splitlines()
    assert lines[0].split() == ["metric", "validation", "test"]
    assert lines[2].split() == ["f1_macro", "0.5000", "0.2500"]
    assert lines[3].split() == ["f1_a", "0.1000"]
    assert lines[-1] == "best_step 12"


def test_plots_are_png_files(tmp_path):
    history = [{"step": 1, "loss": 1.0, "loss_focal": 0.9}, {"step": 2, "eval_loss": 0.8, "eval_f1_macro": 0.3}]
    plots.learning_curves(history, "f1_macro", 2, tmp_path / "a.png")
    plots.learning_curves([], "f1_macro", None, tmp_path / "b.png")
    plots.confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), ["a", "b"], tmp_path / "c.png")
    plots.confusion_matrix(np.arange(40), np.arange(40), [str(k) for k in range(40)], tmp_path / "d.png")
    plots.bars({"x": 0.2, "y": 0.9}, 0.55, "title", tmp_path / "e.png")
    for name in "abcde":
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
