"""Runs compared: the tests by closed forms, rows matched by content, every task, and the command itself."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom

from tests.comparison.conftest import save_run
from tests.conftest import run_ok, run_script
from tests.export.test_bootstrap import SPACE, case, take
from trainer_ext.comparison.flags import differing
from trainer_ext.comparison.job import compare
from trainer_ext.comparison.paired import holm, judge, mcnemar, two_sided
from trainer_ext.comparison.runs import read_run
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, Calibration, LabelSpace

SINGLE = TASKS["single_label"](SPACE)


def test_mcnemar_is_the_exact_binomial_test():
    """Against the tail of a fair coin, and by hand: 1 of 5 has p = 2 (1 + 5) / 32."""
    assert mcnemar(1, 4) == mcnemar(4, 1) == pytest.approx(12 / 32)
    assert mcnemar(7, 21) == pytest.approx(2 * binom.cdf(7, 28, 0.5))
    assert mcnemar(0, 0) == 1.0 and mcnemar(5, 5) == 1.0


def test_holm_by_hand():
    """The smallest times 3, the next times 2; none falls below the one before it, none exceeds 1."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


def test_two_sided_by_hand():
    """999 of 1,000 resamples above 0: 2 (1 + 1) / 1001; resamples on both sides: not above 1."""
    differences = np.ones(1000)
    differences[0] = -1
    assert two_sided(differences) == pytest.approx(4 / 1001)
    assert two_sided(-differences) == pytest.approx(4 / 1001)
    assert two_sided(np.zeros(50)) == 1.0


def test_the_same_rows_in_another_order_are_matched(tmp_path, one_hot_logits):
    """b is right on rows 0 to 6, a on 2 to 9: b alone has two rows, a alone three, wherever they stand."""
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    answers = {"a": labels.copy(), "b": labels.copy()}
    answers["a"][:2] = (labels[:2] + 1) % 3
    answers["b"][7:] = (labels[7:] + 1) % 3
    order = np.random.default_rng(1).permutation(10)
    texts = np.array([f"row {k}" for k in range(10)])
    a = save_run(tmp_path / "a", SINGLE, one_hot_logits(answers["a"]), labels, texts)
    b = save_run(
        tmp_path / "b", SINGLE, one_hot_logits(answers["b"][order]), labels[order], texts[order]
    )
    judged = judge([read_run(a), read_run(b)])
    found = judged.comparisons[0]
    assert (found.only_this, found.only_first) == (2, 3)
    assert found.p_mcnemar == 1.0 and judged.rows == 10
    # Matched by place, the interval would be wider: the runs agree on five of the ten rows.
    assert found.difference.low < found.difference.value < found.difference.high


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task(name, tmp_path, capsys):
    """The metric is that of the task's own function; a run and its copy do not differ, a better one does."""
    task, first, _, labels = case(name, 60)
    shown = compare_three(tmp_path, task, first, labels)
    expected = task.compute_metrics(first, labels)[task.default_metric]
    assert shown.judged.metrics[0].value == pytest.approx(expected)
    copy, better = shown.judged.comparisons
    assert copy.difference.value == copy.difference.low == 0 and copy.p_bootstrap == 1.0
    gain = better.difference.value * (1 if task.greater_is_better else -1)
    assert gain > 0 and better.p_bootstrap < 0.05
    assert (better.p_mcnemar is None) == (name == "regression")
    assert task.default_metric in capsys.readouterr().out


def compare_three(folder, task, logits, labels):
    """A run, its copy, and one whose logits are nearly the labels."""
    if task.token_classes:
        intents, tags = labels
        intent_logits = np.eye(2)[np.maximum(intents, 0)] * 9.0
        tag_logits = [np.eye(task.token_classes)[np.maximum(row, 0)] * 9.0 for row in tags]
        good = (intent_logits.astype(np.float32), tag_logits)
    elif not task.has_classes:
        good = labels + 0.1
    elif task.name in ("single_label", "multi_aspect"):
        good = np.eye(3)[labels] * 9.0
    else:
        good = (labels - 0.5) * 9.0
    outputs = {"a": logits, "copy": logits, "good": good}
    return compare(
        [save_run(folder / name, task, of_run, labels) for name, of_run in outputs.items()]
    )


def test_folds_are_one_run_and_calibrated_on_the_rows_of_others(tmp_path):
    """Joined, they have the metric of all rows; thresholds fitted on a fold's own rows do not decide these rows."""
    task, logits, _, labels = case("multi_label", 60)
    folder = tmp_path / "cv"
    texts = np.array([f"row {k}" for k in range(60)])
    for k in range(2):
        part = np.arange(k, 60, 2)
        own = type(task)(task.label_space, task.fit_calibration(logits[part], labels[part], "both"))
        save_run(folder / f"fold-{k}", own, logits[part], labels[part], texts[part])
    (folder / "folds.json").write_text(json.dumps({"models": 2}), encoding="utf-8")
    (folder / "cv.json").write_text(
        json.dumps({"mean": {"f1_micro": 0.5}, "std": {"f1_micro": 0.1}}), encoding="utf-8"
    )
    flags = "task: multi_label\nfolds: 2\ncalibrate: {}\n"
    (folder / "resolved_config.yaml").write_text(flags.format("none"), encoding="utf-8")
    uncalibrated = read_run(folder)
    (folder / "resolved_config.yaml").write_text(flags.format("both"), encoding="utf-8")
    run = read_run(folder)
    assert run.members == 2 and len(run.answers) == 1 and run.seconds == 6.0
    sums = run.answers[0].tally.sum(axis=0, keepdims=True)
    predicted = np.zeros_like(labels)
    for k in range(2):
        part, other = np.arange(k, 60, 2), np.arange(1 - k, 60, 2)
        fitted = task.fit_calibration(logits[other], labels[other], "both")
        predicted[part] = type(task)(task.label_space, fitted).predictions(logits[part])
    expected = task.metrics_of_sums(task.tally((predicted - 0.5) * 9, labels).sum(axis=0)[None])
    assert task.metrics_of_sums(sums)["f1_micro"] == pytest.approx(expected["f1_micro"])
    own_sums = uncalibrated.answers[0].tally.sum(axis=0, keepdims=True)
    assert (own_sums != sums).any()


@pytest.mark.parametrize(
    "problem, message",
    [
        ("rows", "different rows .10 and 9, 9 of them"),
        ("labels", "different rows .10 and 10, 9 of them"),
        ("classes", "their labels differ"),
        ("task", "their tasks differ"),
        ("no outputs", "has no validation_outputs.npz"),
        ("old outputs", "earlier version"),
        ("unfinished", "not a finished run: it has no metrics.json"),
        ("no run", "no resolved_config.yaml"),
        ("nothing", "is not a folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(problem, message, tmp_path, one_hot_logits):
    """Naming the folder."""
    labels = np.arange(10) % 3
    logits = one_hot_logits(labels)
    a = save_run(tmp_path / "a", SINGLE, logits, labels)
    b = tmp_path / "b"
    if problem == "rows":
        save_run(b, SINGLE, logits[:9], labels[:9])
    elif problem == "labels":
        save_run(b, SINGLE, logits, np.where(np.arange(10) == 4, 2, labels))
    elif problem == "classes":
        save_run(
            b,
            TASKS["single_label"](LabelSpace(("label",), ("a", "b", "x"), ("a", "b", "x"))),
            logits,
            labels,
        )
    elif problem == "task":
        task, *outputs, flags = case("multi_label", 10)
        save_run(b, task, outputs[0], flags)
    elif problem != "nothing":
        save_run(b, SINGLE, logits, labels)
    if problem == "no outputs":
        (b / "validation_outputs.npz").unlink()
    elif problem == "old outputs":
        np.savez(b / "validation_outputs.npz", logits=logits)
    elif problem == "unfinished":
        (b / "metrics.json").unlink()
    elif problem == "no run":
        (b / "resolved_config.yaml").unlink()
    with pytest.raises(UserError, match=message) as error:
        compare([a, b])
    assert str(b) in str(error.value) and "\n" not in str(error.value)


def test_a_comparison_that_cannot_be_written_is_refused_before_it_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output .*a.md: .*file is not a folder that can be"):
        compare([tmp_path / "a", tmp_path / "b"], [tmp_path / "file" / "a.md"])


def test_flags_that_differ():
    """By value, not by how it is written; what was left out has its default; where it was written does not count."""
    runs = [
        {"focal_gamma": 2.0, "max_length": 64, "output_dir": "a", "learning_rate": 5e-5},
        {"focal_gamma": 0, "max_length": 64, "output_dir": "b"},
        {"focal_gamma": 2, "class_weights": ["1", "2"]},
    ]
    assert differing(runs) == {
        "focal_gamma": ["2", "0", "2"],
        "max_length": ["64", "64", "128"],
        "class_weights": ["none", "none", "1 2"],
    }


def test_the_command_on_trained_runs(topic_checkpoint, topic_flags, tmp_path):
    """As a user calls it: the table, the three files, and what is refused."""
    other = tmp_path / "focal"
    run_ok(
        "train.py", *topic_flags, "--max_steps", "6", "--focal_gamma", "2", "--output_dir", other
    )
    files = [tmp_path / f"table.{ending}" for ending in ("csv", "md", "png")]
    module = ("-m", "trainer_ext.reports.compare")
    done = run_ok(*module, topic_checkpoint, other, "--output", *files, real=True)
    assert "focal_gamma=2" in done.stdout and "accuracy" in done.stdout
    assert "max_steps=6" in done.stdout and "output_dir" not in done.stdout
    with open(files[0], encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    metrics = json.loads((other / "metrics.json").read_text())
    assert float(second["f1_macro"]) == pytest.approx(metrics["eval_f1_macro"])
    assert second["focal_gamma"] == "2" and first["difference"] == ""
    assert float(second["difference"]) == pytest.approx(
        float(second["f1_macro"]) - float(first["f1_macro"])
    )
    assert "| run | f1_macro | accuracy |" in files[1].read_text(encoding="utf-8")
    with Image.open(files[2]) as image:
        assert image.width > 800
    done = run_script("-m", "trainer_ext", "compare", topic_checkpoint)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    done = run_script("-m", "trainer_ext", "compare", topic_checkpoint, other, "--output", "a.txt")
    assert done.returncode == 2 and "a.txt" in done.stderr


def test_a_calibrated_model_decides_as_it_answers(tmp_path):
    """Thresholds of the checkpoint count: at 0.9 nothing is predicted."""
    task, logits, _, labels = case("multi_label", 30)
    strict = type(task)(task.label_space, Calibration(1.0, (0.999,) * 3))
    run = read_run(save_run(tmp_path / "a", strict, np.minimum(logits, 1.0), labels))
    assert take(run.answers[0].tally, slice(None))[:, 1].sum() == 0
