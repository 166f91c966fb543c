"""How much a variant loses, and how sure that is: closed forms, and scikit-learn's metrics on every resample."""

from itertools import chain

import numpy as np
import pytest

from trainer_ext.evaluation.resampling import drawn_rows, resampled_metrics
from trainer_ext.export.bootstrap import bounds, clopper_pearson, measure_loss, p_value
from trainer_ext.export.deltas import Delta, all_deltas, deltas_table, worst
from trainer_ext.export.gate import Variant, judge_int8
from trainer_ext.tasks import TASKS, LabelSpace

SPACE = LabelSpace(("label",), ("a", "b", "c"), ("a", "b", "c"))
ASPECTS = LabelSpace(("food", "staff"), ("a", "b", "c"), ("a", "b", "c"))
TARGETS = LabelSpace(("warmth", "price"), (), ())
SLOTS = TASKS["joint"].label_space_class.from_dict(
    {
        "columns": ["intent"],
        "classes": ["go", "stop"],
        "values": ["go", "stop"],
        "tags": ["O", "B-hour", "B-place", "I-place"],
        "by_character": False,
        "neighbours": [],
    }
)
DRAW = np.random.default_rng(3)


def case(name: str, rows: int = 40):
    """A task, the logits of two models that differ a little, and labels."""
    if name == "joint":
        task = TASKS[name](SLOTS)
        lengths = DRAW.integers(1, 6, rows)
        first = [(DRAW.normal(size=2), DRAW.normal(size=(length, 4))) for length in lengths]
        second = [
            (intent + 0.7 * DRAW.normal(size=2), tags + 0.7 * DRAW.normal(size=tags.shape))
            for intent, tags in first
        ]
        # -1000 and below: an intent and tags that no training row has.
        labels = [
            (int(DRAW.integers(0, 2)), DRAW.integers(0, 4, length).tolist()) for length in lengths
        ]
        labels[0] = (-1000, [-1005] * int(lengths[0]))
        return task, task.stack(first), task.stack(second), task.stack_labels(labels)
    space = {"multi_aspect": ASPECTS, "regression": TARGETS}.get(name, SPACE)
    task = TASKS[name](space)
    first = DRAW.normal(size=(rows, *task.head_shape))
    second = first + 0.7 * DRAW.normal(size=first.shape)
    labels = {
        "single_label": lambda: DRAW.integers(0, 3, rows),
        "multi_label": lambda: DRAW.integers(0, 2, (rows, 3)),
        "multi_aspect": lambda: DRAW.integers(0, 3, (rows, 2)),
        "regression": lambda: 2 * DRAW.normal(size=(rows, 2)),
    }[name]()
    return task, first, second, labels


def take(values, rows):
    """Rows of logits or labels, also of the joint task's pairs."""
    if isinstance(values, tuple):
        first, second = values
        return first[rows], [second[row] for row in rows]
    return values[rows]


@pytest.mark.parametrize("name", list(TASKS))
def test_metrics_of_resamples_are_those_of_the_metric_functions(name):
    """Through counts that add up, for each of the first resamples and every metric that both have."""
    task, reference, logits, labels = case(name)
    before, after = resampled_metrics(task, logits, reference, labels)
    draws = [np.arange(40), *chain.from_iterable(drawn_rows(40, 2000))]
    assert len(draws) == 2001 and len(before[task.default_metric]) == 2001
    compared = set()
    for number in range(8):
        rows = draws[number]
        for outputs, fast in ((reference, before), (logits, after)):
            slow = task.compute_metrics(take(outputs, rows), take(labels, rows))
            common = set(slow) & set(fast)
            compared |= common
            for metric in common:
                assert fast[metric][number] == pytest.approx(slow[metric]), metric
    assert task.default_metric in compared and len(compared) >= 3


def test_slots_are_counted_by_name():
    """By hand: the place is found in one of two rows, the hour is not; a wrong slot counts on both sides."""
    task = TASKS["joint"](SLOTS)
    gold = (np.array([0, 1]), [np.array([2, 3, 1]), np.array([2, 0])])
    predicted = (np.array([0, 0]), [np.array([2, 3, 0]), np.array([0, 1])])
    sums = task.tally(predicted, gold).sum(axis=0, keepdims=True)
    metrics = {key: float(value[0]) for key, value in task.metrics_of_sums(sums).items()}
    assert metrics == {
        "intent_accuracy": 0.5,
        "slot_f1": 2 * 1 / (3 + 2),
        "sentence_accuracy": 0.0,
        "slot_f1_hour": 0.0,
        "slot_f1_place": 2 * 1 / (2 + 1),
    }


@pytest.mark.parametrize(
    "successes, trials, expected",
    [
        (0, 300, 1 - 0.05 ** (1 / 300)),  # the rule of three: about 3 / 300
        (0, 1, 0.95),
        (5, 5, 1.0),
        (1, 2, 0.95**0.5),  # p with (1 - p)^2 + 2 p (1 - p) = 1 - p^2 = 0.05
        (4, 300, 0.030231),
    ],
)
def test_clopper_pearson(successes, trials, expected):
    """Closed forms, and one value that was computed by summing the binomial distribution."""
    assert clopper_pearson(successes, trials) == pytest.approx(expected, abs=2e-5)


def test_clopper_pearson_inverts_the_binomial_distribution():
    """With this probability so few successes, or fewer, have a chance of 5%."""
    from scipy.stats import binom

    for successes, trials in ((3, 20), (11, 300), (250, 1000)):
        bound = clopper_pearson(successes, trials)
        assert binom.cdf(successes, trials, bound) == pytest.approx(0.05)


def accuracy_case(rows: int, lost: int, gained: int):
    """A joint model of one word a text, whose default metric is an accuracy: `lost` rows become wrong."""
    task = TASKS["joint"](SLOTS)
    right, wrong = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    tags = np.array([[1.0, 0.0, 0.0, 0.0]])
    before, after = [], []
    for row in range(rows):
        first = second = right
        if row < lost:
            second = wrong
        elif row < lost + gained:
            first = wrong
        before.append((first, tags))
        after.append((second, tags))
    labels = task.stack_labels([(0, [0])] * rows)
    return task, task.stack(after), task.stack(before), labels


def test_the_p_value_of_an_accuracy_is_a_binomial_probability():
    """3 of 30 lost: a resample has none of them with (27/30)^30 = 0.042."""
    loss = measure_loss(*accuracy_case(30, 3, 0))
    assert loss.points == pytest.approx(10)
    assert loss.p_value == pytest.approx(0.9**30, abs=0.01)
    assert (loss.rows, loss.changed) == (30, 3)
    assert loss.changed_at_most == pytest.approx(clopper_pearson(3, 30))


def test_bounds_are_those_of_the_normal_distribution_on_many_rows():
    """10 lost and 6 gained of 1000: 0.4 points, with a standard error of sqrt(16 - 0.016) / 10."""
    loss = measure_loss(*accuracy_case(1000, 10, 6))
    error = np.sqrt(16 - 0.016) / 10
    assert loss.points == pytest.approx(0.4)
    assert loss.low == pytest.approx(0.4 - 1.645 * error, abs=0.12)
    assert loss.high == pytest.approx(0.4 + 1.645 * error, abs=0.12)


def test_what_was_not_seen_cannot_be_excluded():
    """All 300 answers are the same; 1.0 points may still be lost."""
    loss = measure_loss(*accuracy_case(300, 0, 0))
    assert (loss.points, loss.low, loss.changed) == (0, 0, 0)
    assert loss.high == pytest.approx(100 * (1 - 0.05 ** (1 / 300)))
    assert loss.p_value == 1


def judged(rows: int, lost: int, gained: int, allowed: float = 0.5) -> Variant:
    """INT8 with this loss, its logits within the tolerance."""
    task, logits, reference, labels = accuracy_case(rows, lost, gained)
    variant = Variant("int8", "model_quantized.onnx", 1, (rows - lost) / rows)
    variant.loss = measure_loss(task, logits, reference, labels, allowed)
    judge_int8(variant, Variant("pytorch", "x", 1, (rows - gained) / rows), allowed)
    return variant


@pytest.mark.parametrize(
    "rows, lost, gained, good",
    [
        (300, 5, 2, True),  # a point, twice what is allowed: chance
        (300, 12, 3, False),  # three points
        (3000, 50, 20, False),  # a point again, on enough rows
        (3000, 20, 20, True),
        (30, 15, 0, False),  # half of few rows
        (30, 1, 0, True),
        (300, 3, 30, True),  # a gain
    ],
)
def test_a_loss_is_refused_only_where_it_is_shown(rows, lost, gained, good):
    variant = judged(rows, lost, gained)
    assert variant.good is good, variant.loss
    if not good:
        assert "the metric drops by" in variant.why and f"on {rows} rows" in variant.why


def test_what_is_allowed_is_part_of_the_question():
    assert not judged(300, 12, 3).good
    assert judged(300, 12, 3, allowed=5).good
    assert not judged(300, 0, 0, allowed=-200).good, "a gain that it does not have is asked for"


def test_not_a_number_is_refused():
    assert np.isnan(p_value(np.array([0.1, np.nan]), 0.5))
    assert np.isnan(bounds(np.array([0.1, np.nan]))[0])
    variant = judged(300, 0, 0)
    variant.loss.low = float("nan")
    judge_int8(variant, Variant("pytorch", "x", 1, 1.0), 0.5)
    assert not variant.good


def test_errors_lose_by_growing_in_units_of_the_labels_spread():
    """Scores that are 0.3 of the spread further off lose points in any unit of the labels."""
    labels = DRAW.normal([0, 500], [1, 100], (400, 2))
    unit = labels.std(axis=0)
    task = TASKS["regression"](TARGETS)
    reference = labels + 0.5 * unit * DRAW.choice([-1, 1], labels.shape)
    worse = labels + (reference - labels) * 1.2
    loss = measure_loss(task, worse, reference, labels)
    # mcrmse is 0.5 of the mean unit before, 0.6 after; the metric's unit is the mean of the units.
    assert loss.points == pytest.approx(10)
    assert loss.low > 9 and loss.p_value < 0.01
    assert measure_loss(task, reference, worse, labels).points == pytest.approx(-10)


@pytest.mark.parametrize("name", ["single_label", "multi_label", "multi_aspect"])
def test_without_labels_the_float_models_own_probabilities_count(name):
    """A model loses against itself only what it is sure of: nothing where both classes are as probable."""
    task, reference, _, _ = case(name, rows=200)
    sure, unsure = 8 * reference, 1e-3 * reference
    assert measure_loss(task, sure, sure, None).points == 0
    large = measure_loss(task, -sure, sure, None)
    small = measure_loss(task, -unsure, unsure, None)
    assert large.points > 40 and abs(small.points) < 3
    assert large.changed == small.changed > 150


def test_tasks_whose_rows_need_labels_only_count_changes():
    for name in ("joint", "regression"):
        task, reference, logits, _ = case(name, rows=50)
        loss = measure_loss(task, logits, reference, None)
        assert loss.points is None and loss.p_value is None
        assert 0 < loss.changed <= 50


def test_deltas_of_each_class():
    """By hand: one of four rows of class a becomes b."""
    task = TASKS["single_label"](SPACE)
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    reference = np.eye(3)[labels]
    logits = np.eye(3)[[1, 0, 0, 0, 1, 1, 2, 2]]
    deltas = {delta.metric: delta for delta in all_deltas(task, logits, reference, labels)}
    of_a, of_b = 2 * 3 / (3 + 4), 2 * 2 / (3 + 2)
    lost = {
        "f1_b": 100 * (1 - of_b),
        "f1_a": 100 * (1 - of_a),
        "accuracy": 12.5,
        "f1_macro": 100 * (1 - (of_a + of_b + 1) / 3),
        "f1_c": 0.0,
    }
    assert {name: delta.loss_points for name, delta in deltas.items()} == pytest.approx(lost)
    assert list(deltas) == sorted(lost, key=lambda name: -lost[name])
    assert deltas["f1_b"].before == 1 and deltas["f1_b"].after == pytest.approx(of_b)
    assert deltas["f1_c"].loss_low == deltas["f1_c"].loss_high == 0
    assert deltas["f1_a"].loss_low <= deltas["f1_a"].loss_points <= deltas["f1_a"].loss_high


def test_deltas_of_targets_are_in_units_of_their_own():
    """A target of hundreds and one of units both lose a tenth of their spread."""
    labels = DRAW.normal([0, 500], [1, 100], (300, 2))
    unit = labels.std(axis=0)
    task = TASKS["regression"](TARGETS)
    deltas = all_deltas(task, labels + 0.3 * unit, labels + 0.2 * unit, labels)
    assert {delta.metric for delta in deltas} == {"mcrmse", "rmse_warmth", "rmse_price"}
    for delta in deltas:
        assert delta.loss_points == pytest.approx(10)


def test_the_worst_are_shown_if_one_loses_more_than_allowed():
    deltas = [Delta(f"f1_{k}", 0.9, 0.8, 10.0 - k, 1.0, 20.0) for k in range(8)]
    assert [delta.metric for delta in worst(deltas, 5)] == [f"f1_{k}" for k in range(5)]
    assert worst(deltas, 10.5) == []
    *_, line = deltas_table(deltas[:1]).splitlines()
    assert line.split() == ["f1_0", "0.9000", "0.8000", "10.00", "1.00", "20.00"]


def test_a_task_without_a_tally_is_resampled_with_its_metric_function(monkeypatch):
    monkeypatch.setattr("trainer_ext.evaluation.resampling.SLOW_RESAMPLES", 60)

    class Plain(TASKS["single_label"]):
        def tally(self, reduced, labels):
            raise NotImplementedError

    task, reference, logits, labels = case("single_label")
    fast = measure_loss(task, logits, reference, labels)
    slow = measure_loss(Plain(SPACE), logits, reference, labels)
    assert slow.points == pytest.approx(fast.points)
    assert slow.low == pytest.approx(fast.low, abs=5) and slow.high == pytest.approx(
        fast.high, abs=5
    )


def test_bounds_are_quantiles():
    low, high = bounds(np.arange(101.0))
    assert (low, high) == pytest.approx((5, 95))


@pytest.mark.parametrize(
    "predicted, labels, expected",
    [
        ([0, 2, 1], [0, 0, 1], (2 / 3 + 1 + 0) / 3),  # c is predicted only
        ([0, 0, 1], [0, 2, 1], (2 / 3 + 1 + 0) / 3),  # c is true only
        ([0, 0, 1], [0, 0, 1], 1.0),  # there is no c, and it does not count
    ],
)
def test_classes_count_that_are_predicted_or_true(predicted, labels, expected):
    task = TASKS["single_label"](SPACE)
    sums = task.tally(np.array(predicted), np.array(labels)).sum(axis=0, keepdims=True)
    assert task.metrics_of_sums(sums)["f1_macro"].tolist() == pytest.approx([expected])
