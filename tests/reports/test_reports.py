"""Tables and plots."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from trainer_ext.data.report import histograms
from trainer_ext.figures import shown
from trainer_ext.reports import plots
from trainer_ext.reports.tables import metrics_table, table


def test_table_aligns_wide_characters_and_formats_floats():
    lines = table([["味道", 0.5], ["abcd", 12]], ["text", "value"]).splitlines()
    assert lines[2].split() == ["味道", "0.5000"] and lines[3].split() == ["abcd", "12"]
    assert lines[2].index("0.5000") + 2 == lines[3].index("    12"), (
        "a Chinese character is two columns wide"
    )
    assert table([], ["a"]).splitlines()[0].strip() == "a"


def test_metrics_table_puts_splits_side_by_side():
    metrics = {
        "eval_f1_a": 0.1,
        "eval_f1_macro": 0.5,
        "test_f1_macro": 0.25,
        "best_step": 12,
        "precision": "bf16",
    }
    lines = metrics_table(metrics).splitlines()
    assert lines[0].split() == ["metric", "validation", "test"]
    assert lines[2].split() == ["f1_macro", "0.5000", "0.2500"]
    assert lines[3].split() == ["f1_a", "0.1000"]
    assert lines[-1] == "best_step 12, precision bf16"


def test_metrics_table_of_a_file_is_headed_by_it():
    """Instead of the name of a split that it may not be."""
    first, _, values = metrics_table({"eval_loss": 0.5}, {"eval_": "dev set.csv"}).splitlines()
    assert re.split(r"\s{2,}", first.strip()) == ["metric", "dev set.csv"]
    assert values.split() == ["loss", "0.5000"]


def test_plots_are_png_files(tmp_path):
    history = [
        {"step": 1, "loss": 1.0, "loss_focal": 0.9},
        {"step": 2, "eval_loss": 0.8, "eval_f1_macro": 0.3},
    ]
    plots.learning_curves(history, "f1_macro", 2, tmp_path / "a.png")
    plots.learning_curves([], "f1_macro", None, tmp_path / "b.png")
    plots.confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), ["a", "b"], tmp_path / "c.png")
    plots.confusion_matrix(
        np.arange(40), np.arange(40), [str(k) for k in range(40)], tmp_path / "d.png"
    )
    plots.bars({"x": 0.2, "y": 0.9}, 0.55, "title", tmp_path / "e.png")
    for name in "abcde":
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_names_that_no_font_has_are_numbers_and_nothing_is_said_on_stderr(tmp_path):
    assert shown(["x", "\U000f0000"])[0] == ["x", "#2"]
    names = ["一般", "\U000f0000"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion_matrix(np.array([0, 1]), np.array([0, 1]), names, tmp_path / "a.png")
        plots.scatter(
            np.array([[1.0, 2], [2, 3]]), np.array([[1.0, 2], [2, 3]]), names, tmp_path / "b.png"
        )
        plots.bars(dict.fromkeys(names, 0.5), 0.5, "title", tmp_path / "c.png")


def test_bars_are_in_the_order_of_their_scores_under_their_own_numbers(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plots.bars({"\U000f0000": 0.9, "\U000f0001": 0.1}, 0.5, "title", None)
    assert [label.get_text() for label in figures[0].axes[0].get_yticklabels()] == ["#2", "#1"]


def test_learning_curves_of_a_run_that_logged_nothing_say_so(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plots.learning_curves(
        [{"step": 2, "eval_loss": 0.8, "eval_f1_macro": 0.3}], "f1_macro", 2, None
    )
    plots.learning_curves([{"step": 1, "loss": 0.8}], "f1_macro", None, None)
    left, right = (
        [[text.get_text() for text in figure.axes[k].texts] for figure in figures] for k in (0, 1)
    )
    assert "no training loss was logged" in left[0][0] and left[1] == []
    assert "nothing was evaluated" in right[1][0] and right[0] == []


ODD_NAMES = [
    "US$_per_$",
    "$x^$",
    "a_$\\frac{$",
    "x" * 1000,
    "y" + "x" * 999,
    "x" * 1000,
    "",
    "tab\there\nline",
    "\x1b[31m",
]
ODD_NAMES += ["😀", "\ud83d", "_under", "%s{}", "(empty)"]


def pictures_of(names: list[str], folder) -> dict:
    """Every picture, with these names in all places; each returns nothing and takes a path."""
    indices, values = np.arange(len(names)), np.linspace(0, 1, len(names))
    history = [{"step": 1, "loss": float("nan"), "loss_x": 1.0}, {"step": 2, "loss": float("inf")}]
    history += [{"step": 2, "eval_loss": float("nan"), f"eval_{names[0]}": float("nan")}]
    scores = np.where(values < 0.5, values, np.nan)[None, :].repeat(3, axis=0)
    counts = {name: dict.fromkeys(names, 3) for name in names}
    drawn = {
        "confusion_matrix": (plots.confusion_matrix, indices, indices[::-1], names),
        "bars": (
            plots.bars,
            dict(zip(names, values, strict=True)) | {"nan": float("nan")},
            float("nan"),
            "title $$",
        ),
        "scatter": (plots.scatter, scores, scores[::-1], names),
        "curves": (plots.learning_curves, history, names[0], 2),
        "fold_curves": (plots.fold_curves, {"fold-0": history}, names[0]),
        "lengths": (histograms.length_histogram, {name: [1, 5] for name in names}, "tokens", [2]),
        "classes": (histograms.class_bars, counts, names[0]),
        "columns": (histograms.aspect_bars, counts, names[0]),
        "targets": (
            histograms.target_histogram,
            {name: [1.0, float("nan")] for name in names},
            names[0],
        ),
    }
    return {name: (*call, folder / f"{name}.png") for name, call in drawn.items()}


@pytest.mark.parametrize("which", pictures_of(["a"], Path()))
def test_odd_names_and_what_is_not_finite_are_drawn(which, tmp_path, capsys):
    draw, *args = pictures_of(ODD_NAMES, tmp_path)[which]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(*args)
    assert args[-1].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("which", pictures_of(["a"], Path()))
def test_a_thousand_long_names_are_a_picture_of_some_of_them(which, tmp_path, monkeypatch):
    """Which says so; the whole of them took minutes, and 8 GB."""
    kept = []
    monkeypatch.setattr(plots, "save", lambda figure, path: kept.append(figure))
    monkeypatch.setattr(histograms, "save", lambda figure, path: kept.append(figure))
    draw, *args = pictures_of([f"{k} $" + "x" * 1000 for k in range(1000)], tmp_path)[which]
    draw(*args)
    width, height = kept[0].get_size_inches()
    assert width * height < 500 and len(kept[0].findobj(Text)) < 2500
    assert max(len(text.get_text()) for text in kept[0].findobj(Text)) < 120
    if which not in ("curves", "fold_curves"):
        assert any("of 100" in text.get_text() for text in kept[0].findobj(Text))


def test_the_classes_with_the_most_errors_are_drawn_of_many(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    labels, predicted = np.arange(100), np.arange(100)
    predicted[[3, 99]] = 50
    plots.confusion_matrix(labels, predicted, [f"c{k}" for k in range(100)], None)
    names = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert (
        len(names) == 80
        and {"c3", "c50", "c99"} <= set(names)
        and names == sorted(names, key=lambda n: int(n[1:]))
    )
    share = figures[0].axes[0].images[0].get_array()
    assert (
        share[names.index("c3"), names.index("c50")] == 1
        and share[names.index("c0"), names.index("c0")] == 1
    )


def test_names_that_are_the_same_when_shortened_are_told_apart():
    long = "x" * 100
    assert shown([long, long + "x", "a\nb", ""])[0] == [
        f"{'x' * 20}…{'x' * 11} #{k}" for k in (1, 2)
    ] + [
        "a b",
        "(empty)",
    ]


def test_a_picture_that_fails_is_a_warning(tmp_path, capsys, monkeypatch):
    plots.confusion_matrix(np.array([5]), np.array([0]), ["a"], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    plots.bars({"a": 0.5}, 0.5, "title", tmp_path / "file" / "b.png")
    monkeypatch.setattr(
        plots.plt, "subplots", lambda *args, **kwargs: (_ for _ in ()).throw(MemoryError)
    )
    plots.scatter(np.ones((2, 1)), np.ones((2, 1)), ["a"], tmp_path / "c.png")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["warning", f"no picture {tmp_path / name}"] for name in ("a.png", "file/b.png", "c.png")
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_cells_of_a_confusion_matrix_are_counts_coloured_by_the_share_of_their_row(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    labels, predicted = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1])
    plots.confusion_matrix(labels, predicted, ["a", "b"], None)
    axis = figures[0].axes[0]
    assert [text.get_text() for text in axis.texts] == ["3", "1", "", "1"]
    assert axis.images[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]
