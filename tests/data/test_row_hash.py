"""The hash of what a model learns from, as it is recorded in checkpoints."""

from trainer_ext.data.row_hash import examples_sha256, rows_sha256
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace


def test_labels_that_no_training_row_has_are_numbered_as_version_0_1_did():
    """In their order, intent before tags, and the same number again; known labels as they are."""
    space = JointLabelSpace.from_rows(["play", "rate"], [["B-x", "I-x"]], [["some", "jazz"]])
    task = Joint(space)
    rows = [("stop", ["B-y", "O", "I-x"]), ("play", ["E-x", "B-y", "O"]), ("halt", ["O", "O", "O"])]
    examples = [("a", (task.encode([intent]), task.encode_tags(tags))) for intent, tags in rows]
    before = ["(-1000, [-1001, 0, 2])", "(0, [-1002, -1001, 0])", "(-1003, [0, 0, 0])"]
    assert examples_sha256(examples) == rows_sha256(f"a\x1f{labels}\x1e" for labels in before)
