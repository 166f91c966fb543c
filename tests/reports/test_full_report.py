"""The report of all five tasks from outputs that are made up: tables against literal values, the page against HTML."""

import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from trainer_ext.evaluation.baselines import NGRAMS, score_baselines, some_rows, spread
from trainer_ext.reports.full_report import Baselines, Reported, verdict, write_report
from trainer_ext.reports.html import Section, write_page
from trainer_ext.reports.row_tables import ReportRows, length_bins
from trainer_ext.reports.suspects import find_suspects
from trainer_ext.tasks import TASKS
from trainer_ext.tasks.decisions import scores_by_row
from trainer_ext.tasks.joint_space import JointLabelSpace

ROWS = 60
EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'


def topic_task():
    return task_of("single_label", [["a"], ["b"], ["c"]])


def task_of(name, values, columns=("label",)):
    kind = TASKS[name]
    return kind(kind.make_space(columns, None, values))


def joint_task():
    tags = [["O", "O", "B-city", "I-city"], ["O", "O"]]
    words = [["go", "to", "north", "rome"], ["stay", "here"]]
    return TASKS["joint"](JointLabelSpace.from_rows(["go", "stay"], tags, words))


def sure(labels, classes, wrong=()):
    """Logits that are sure of the labels, but of the next class in the rows `wrong`."""
    chosen = np.array(labels)
    chosen[list(wrong)] = (chosen[list(wrong)] + 1) % classes
    return 4.0 * np.eye(classes)[chosen]


def judged(name):
    """Task, items, labels as encoded and outputs of 60 rows; rows 3 and 7 are answered wrong, and surely."""
    generator = np.random.default_rng(0)
    words = [["go", "to", "north", "rome"], ["stay", "here"]]
    labels = generator.integers(0, 3, ROWS)
    items = [f"text {k} {'abc'[label]}{EVIL}" for k, label in enumerate(labels)]
    wrong = [3, 7]
    if name == "single_label":
        return topic_task(), items, labels, sure(labels, 3, wrong)
    if name == "multi_aspect":
        task = task_of(name, [["a", "b"], ["c", "a"]], ("food", "staff"))
        pair = np.stack([labels, (labels + 1) % 3], axis=1)
        return (
            task,
            items,
            pair,
            np.stack([sure(pair[:, 0], 3), sure(pair[:, 1], 3, wrong)], axis=1),
        )
    if name == "multi_label":
        flags = np.eye(3, dtype=int)[labels]
        logits = 8.0 * flags - 4
        logits[wrong] *= -1
        return task_of(name, [["a,b"], ["c"]]), items, flags, logits
    if name == "regression":
        scores = generator.normal(size=(ROWS, 2))
        outputs = scores + generator.normal(scale=0.01, size=scores.shape)
        outputs[wrong] += 5
        return task_of(name, [["1", "2"]], ("good", "dear")), items, scores, outputs
    task = joint_task()
    intents = labels % 2
    tags = [[0, 0, 1, 2] if intent == 0 else [0, 0] for intent in intents]
    logits = [sure(row, 3) for row in tags]
    return (
        task,
        [words[intent] for intent in intents],
        list(zip(intents.tolist(), tags, strict=True)),
        (sure(intents, 2, wrong), logits),
    )


def reported(name, baselines=None):
    task, items, encoded, logits = judged(name)
    labels = task.stack_labels(encoded)
    metrics = task.compute_metrics(logits, labels)
    rows = ReportRows(
        items,
        [f"dev.csv, row {k}" for k in range(ROWS)],
        [f"row-{k:016x}" for k in range(ROWS)],
        [""] * ROWS,
        "validation",
        task.reads_words,
    )
    scored = {"metrics": metrics, "logits": logits, "labels": labels}
    compared = Baselines(baselines or {}, task.default_metric, metrics)
    history = [{"step": 1, "loss": 1.0, "loss_rdrop": 0.5}]
    return Reported("model", "some rows", task, scored, rows, compared, history, "auto")


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """Every tag with its attributes, and the text between them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", TASKS)
def test_the_report_of_every_task(name, tmp_path, monkeypatch):
    """The wrong rows come first among the hardest and the suspects; nothing of a text becomes a tag."""
    pytest.importorskip("cleanlab")
    monkeypatch.setattr("trainer_ext.reports.full_report.reliability_diagram", lambda *args: None)
    monkeypatch.setattr("trainer_ext.reports.full_report.length_plot", lambda *args: None)
    about = reported(name)
    write_report(tmp_path, about)
    hardest = read_csv(tmp_path / "report" / "hardest.csv")
    assert {row["place"] for row in hardest[:2]} == {"dev.csv, row 3", "dev.csv, row 7"}
    suspects = read_csv(tmp_path / "suspects.csv")
    assert {row["place"] for row in suspects[:2]} == {"dev.csv, row 3", "dev.csv, row 7"}
    assert len(suspects) >= ROWS / 10
    assert all(row["verdict"] == "" and row["split"] == "validation" for row in suspects)
    assert [row["key"] for row in suspects[:1]][0].startswith("row-000")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    kinds = {tag for tag, _ in page.tags}
    assert not kinds & {"script", "iframe", "link", "object"} and "table" in kinds
    for _, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")]
        assert attributes.get("src", "data:").startswith("data:")
    if not about.rows.reads_words:
        assert "<script>alert(1)</script>" in page.text
    # The first thing to read.
    assert page.text.split("}")[-1].strip().startswith(about.task.default_metric)


def test_what_every_kind_of_answer_scores():
    """Precision, recall and F1 by hand, of classes, flags, slots; errors of numbers."""
    about = reported("single_label")
    (decided,) = about.task.decisions(about.scored)
    labels, predicted = about.scored["labels"], about.scored["logits"].argmax(axis=1)
    for k, record in enumerate(decided.scores()):
        both = ((labels == k) & (predicted == k)).sum()
        assert record["precision"] == pytest.approx(both / (predicted == k).sum())
        assert record["recall"] == pytest.approx(both / (labels == k).sum())
        assert record["rows"] == (labels == k).sum()
    confusions = list(decided.confusions())
    assert sum(count for *_, count in confusions) == ROWS
    assert sum(count for _, true, other, count in confusions if true != other) == 2
    _, slots = reported("joint").task.decisions(reported("joint").scored)
    (record,) = slots.scores()
    assert (record["class"], record["f1"], record["part"]) == ("city", 1.0, "slots")
    (numbers,) = reported("regression").task.decisions(reported("regression").scored)
    good = numbers.scores()[0]
    assert good["rmse"] == pytest.approx(np.sqrt(2 / ROWS * 25), rel=0.02)
    assert good["mean_error"] == pytest.approx(2 / ROWS * 5, rel=0.05)


def test_loss_and_margin_of_rows():
    """By hand, with blocks smaller than the rows."""
    about = reported("single_label")
    (decided,) = about.task.decisions(about.scored)
    scores = scores_by_row([decided], ROWS)
    high, low = np.exp(4) / (np.exp(4) + 2), 1 / (np.exp(4) + 2)
    assert scores.loss[0] == pytest.approx(-np.log(high))
    assert scores.loss[3] == pytest.approx(-np.log(low))
    assert scores.margin[0] == pytest.approx(high - low)
    assert scores.margin[3] == pytest.approx(low - high)
    assert np.flatnonzero(~scores.is_right).tolist() == [3, 7]


def test_blocks_change_nothing(monkeypatch):
    whole = [scores_by_row(one.task.decisions(one.scored), ROWS) for one in map(reported, TASKS)]
    monkeypatch.setattr("trainer_ext.tasks.decisions.BLOCK", 7)
    for before, one in zip(whole, map(reported, TASKS), strict=True):
        again = scores_by_row(one.task.decisions(one.scored), ROWS)
        for first, second in zip(before, again, strict=True):
            np.testing.assert_array_equal(first, second)


def test_an_unknown_label_is_hard_and_no_suspect():
    """A tag or intent below zero has no class that could be judged."""
    pytest.importorskip("cleanlab")
    about = reported("joint")
    about.scored["labels"][0][0] = -1
    decisions = about.task.decisions(about.scored)
    scores = scores_by_row(decisions, ROWS)
    assert scores.loss.argmax() == 0 and not scores.is_right[0]
    assert find_suspects(decisions, ROWS).score[0] > 0.5


@pytest.mark.parametrize(
    "name, own, other, behind",
    [
        ("f1_macro", 0.5, 0.4, False),
        ("f1_macro", 0.5, 0.5, True),
        ("f1_macro", float("nan"), 0.1, True),
        ("mcrmse", 0.5, 0.6, False),
        ("mcrmse", 0.6, 0.5, True),
    ],
)
def test_the_verdict(name, own, other, behind):
    baselines = Baselines({"majority": {name: -own}, NGRAMS: {name: other}}, name, {name: own})
    if name == "mcrmse":
        baselines.metrics["majority"][name] = 9.0
    text, is_behind = verdict(baselines)
    assert is_behind == behind
    assert text.startswith("The model does not beat the" if behind else "The model beats the")


def test_a_model_behind_says_so_first(tmp_path, capsys):
    write_page(tmp_path / "a.html", "t", "s", "behind & <b>late</b>", True, [Section("x", ["n"])])
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    body = text[text.index("<body>") :]
    assert re.match(r"<body>\s*<p class=\"verdict behind\">behind &amp; &lt;b&gt;late", body)


def test_length_bins_hold_every_row_once():
    lengths = np.array([1, 1, 1, 1, 2, 3, 4, 50, 60, 70])
    bins = length_bins(lengths, np.arange(10.0))
    assert sum(found.rows for found in bins) == 10
    assert bins[0] == (1, 1, 4, 1.5) and bins[-1].longest == 70
    assert length_bins(np.array([5, 5]), np.array([0.0, 1.0])) == [(5, 5, 2, 0.5)]


@pytest.mark.parametrize("name", TASKS)
def test_baselines_learn_every_task(name):
    """Texts that tell their label: n-grams are perfect (scores: better than the mean)."""
    task, items, encoded, _ = judged(name)
    if not task.reads_words:
        items = [" ".join(f"{k}{value}" for k, value in enumerate(np.ravel(row).round(1)) for _ in "12")
                 for row in encoded]  # fmt: skip
    rows = some_rows(zip(items, encoded, strict=True), ROWS, task, 1000)
    found = score_baselines(task, rows, items, task.stack_labels(encoded), 0)
    metric = task.default_metric
    if name == "regression":
        assert found[NGRAMS][metric] < 0.7 * found["majority"][metric]
    else:
        assert found[NGRAMS][metric] == 1 > found["majority"][metric]


def test_rows_for_baselines_are_spread_over_a_sorted_file():
    assert list(spread("abcdefghij", 10, 5)) == list("acegi")
    assert list(spread("abc", 3, 5)) == list("abc")
    task = topic_task()
    rows = some_rows(((f"t{k}", k // 40) for k in range(120)), 120, task, 12)
    assert len(rows.items) == 12 and set(rows.labels) == {0, 1, 2} and rows.of == 120
