"""From logits to answers, as the table "Answers" has them."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.activations import softmax
from trainer_ext.tasks.multi_aspect import MultiAspect
from trainer_ext.tasks.single_label import SingleLabel

SINGLE = SingleLabel(LabelSpace.from_names(["label"], ["money", "sports", "games"]))
ASPECTS = MultiAspect(
    LabelSpace.from_names(["taste", "price"], ["negative=-1", "neutral=0", "positive=1"])
)
# Weights 1, 2, 5 are probabilities 1/8, 1/4, 5/8.
LOGITS = np.log(np.array([1, 2, 5], dtype=np.float32))


def test_single_label():
    """The literal answer."""
    assert SINGLE.head_shape == (3,)
    assert SINGLE.decode(LOGITS) == {
        "label": "games",
        "score": 0.625,
        "probabilities": {"money": 0.125, "sports": 0.25, "games": 0.625},
    }


def test_multi_aspect():
    """Aspects in order, class names and not raw values."""
    assert ASPECTS.head_shape == (2, 3)
    assert ASPECTS.decode(np.stack([LOGITS, LOGITS[::-1]])) == {
        "aspects": {
            "taste": {
                "label": "positive",
                "score": 0.625,
                "probabilities": {"negative": 0.125, "neutral": 0.25, "positive": 0.625},
            },
            "price": {
                "label": "negative",
                "score": 0.625,
                "probabilities": {"negative": 0.625, "neutral": 0.25, "positive": 0.125},
            },
        }
    }


def test_answers_hold_plain_python_values():
    """What `json.dumps` takes."""
    answer = SINGLE.decode(LOGITS)
    assert {type(answer["score"]), *(type(p) for p in answer["probabilities"].values())} == {float}


def test_predictions():
    """Indices, shaped as the labels."""
    assert SINGLE.predictions(np.stack([LOGITS, -LOGITS])).tolist() == [2, 0]
    assert ASPECTS.predictions(np.stack([[LOGITS, -LOGITS]])).tolist() == [[2, 0]]


def test_the_closest_logits_decode_to_what_is_scored():
    """Where float64 probabilities are equal, the larger logit is still the label."""
    logits = np.array([0, 1e-30, 0], dtype=np.float32)
    assert (
        SINGLE.decode(logits)["label"]
        == "sports"
        == SINGLE.label_space.classes[SINGLE.predictions(logits)]
    )


LARGE = float(np.finfo(np.float32).max)
FLOATS = st.one_of(
    st.floats(-LARGE, LARGE, width=32),
    st.floats(-10, 10, width=32),
    st.sampled_from([0, LARGE, -LARGE]),
)


@given(arrays(np.float32, 3, elements=FLOATS))
def test_any_single_label(logits):
    """Probabilities sum to one, without a warning, and the label is the prediction and has the largest."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = SINGLE.decode(logits)
    assert math.isclose(sum(answer["probabilities"].values()), 1, abs_tol=2e-6)
    assert all(0 <= p <= 1 for p in answer["probabilities"].values())
    assert answer["label"] == SINGLE.label_space.classes[SINGLE.predictions(logits)]
    assert (
        answer["score"]
        == answer["probabilities"][answer["label"]]
        == max(answer["probabilities"].values())
    )


@given(arrays(np.float32, (2, 3), elements=FLOATS))
def test_any_multi_aspect(logits):
    """Each aspect is decoded by itself, as a single label is."""
    answer = ASPECTS.decode(logits)
    assert list(answer) == ["aspects"] and list(answer["aspects"]) == ["taste", "price"]
    single = SingleLabel(LabelSpace.from_names(["label"], ASPECTS.label_space.classes))
    assert list(answer["aspects"].values()) == [single.decode(row) for row in logits]


@given(arrays(np.float32, (4, 5), elements=FLOATS))
def test_softmax(logits):
    """Along the last axis, to the last bits of float64."""
    probabilities = softmax(logits)
    assert probabilities.dtype == np.float64
    assert probabilities.sum(axis=-1) == pytest.approx(np.ones(4), abs=1e-12)


@given(arrays(np.float32, 4, elements=st.floats(-30, 30, width=32)), st.integers(-100, 100))
def test_softmax_does_not_see_a_shift(logits, shift):
    """Only differences count."""
    assert softmax(logits.astype(np.float64) + shift) == pytest.approx(
        softmax(logits), rel=1e-6, abs=1e-12
    )
