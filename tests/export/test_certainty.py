"""What the report says of its own evidence, in words."""

import pytest

from trainer_ext.export.bootstrap import Loss
from trainer_ext.export.certainty import how_sure
from trainer_ext.export.gate import Variant
from trainer_ext.tasks import TASKS, LabelSpace

TASK = TASKS["single_label"](LabelSpace(("label",), ("a", "b"), ("a", "b")))
ON_ROWS = Loss(
    rows=300, points=-0.5, low=-1.9, high=1.0, p_value=0.9, changed=5, changed_at_most=0.035
)


def words_with(on_texts: Loss | None) -> str:
    variant = Variant("int8", "model_quantized.onnx", 1, 0.8, loss=ON_ROWS, loss_on_texts=on_texts)
    sure = how_sure(variant, TASK, 0.5, "training texts")
    assert sure.texts_loss_at_most == (on_texts.high if on_texts else None)
    return sure.words


@pytest.mark.parametrize("high", [0.31, None])
def test_what_texts_without_labels_exclude_is_said_where_it_is_known(high):
    on_texts = Loss(1000, high, high, high, None, changed=35, changed_at_most=0.046)
    words = words_with(on_texts)
    assert "35 of 1000 training texts get another answer than the float model's" in words
    said = "; by its own probabilities at most 0.3 points are lost on them (95% sure of each bound)"
    assert words.endswith(said) == (high is not None)


def test_without_texts_the_rows_speak_alone():
    assert words_with(None) == (
        "with 300 rows a loss of up to 1.0 points cannot be excluded; 5 of 300 rows get another "
        "answer than PyTorch's, at most 3.5% of all such texts (95% sure of each bound)"
    )
