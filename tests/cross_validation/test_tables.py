"""Labels and predictions as columns of oof.csv."""

import numpy as np

from trainer_ext.cross_validation.tables import given_labels, predicted_labels
from trainer_ext.data.io.readers import Row
from trainer_ext.tasks import TASKS, LabelSpace

TASK = TASKS["multi_label"](LabelSpace(("labels",), ("a", "b,c"), ("a", "b,c")))
LOGITS = np.array([2.0, 3.0])


PLAIN = TASKS["multi_label"](LabelSpace(("labels",), ("a", "b"), ("a", "b")))


def test_a_prediction_is_written_as_the_row_has_its_labels():
    """A list as JSON, so that both columns can be compared; a text with its separator."""
    for value, given, predicted in ((["b"], '["b"]', '["a", "b"]'), ("a", "a", "a,b")):
        row = Row({"text": "x", "labels": value}, "row 1")
        assert given_labels(row, PLAIN) == {"labels": given}
        assert predicted_labels(PLAIN, LOGITS, row) == {"labels": predicted}
    assert predicted_labels(PLAIN, LOGITS) == {"labels": "a,b"}


def test_a_class_with_the_separator_in_its_name_can_be_read_back():
    """Joined by it the labels would be other ones: JSON also where the row has a text."""
    for value, given in ((["b,c"], '["b,c"]'), ("a", "a")):
        row = Row({"text": "x", "labels": value}, "row 1")
        assert given_labels(row, TASK) == {"labels": given}
        written = predicted_labels(TASK, LOGITS, row)
        assert written == predicted_labels(TASK, LOGITS) == {"labels": '["a", "b,c"]'}
        assert TASK.encode([written["labels"]]) == [1, 1]
