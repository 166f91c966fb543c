"""Which stages of an export run."""

import pytest

from trainer_ext.errors import UserError
from trainer_ext.export.stages import Stages, check_also, check_skip


def test_a_skipped_stage_leaves_a_record():
    stages = Stages(skip=("graph",), also=("ort",))
    assert not stages.wanted("graph") and stages.wanted("int8")
    assert stages.wanted("ort") and not stages.wanted("fp16")
    with stages.run("int8") as record:
        record.details["setting"] = "x"
    found = [(record.name, record.status, record.details) for record in stages.records]
    assert found == [("graph", "skipped", {}), ("int8", "done", {"setting": "x"})]


@pytest.mark.parametrize(
    "name, message",
    [
        ("grap", "did you mean 'graph'"),
        ("onnx", "all other stages are made of its file"),
        ("fp16", "runs only if --also asks for it"),
    ],
)
def test_what_cannot_be_skipped(name, message):
    with pytest.raises(UserError, match=message):
        check_skip([name])


def test_only_optional_stages_are_asked_for():
    check_also(["fp16", "ort"])
    with pytest.raises(UserError, match="--also int8 is not one of"):
        check_also(["int8"])
