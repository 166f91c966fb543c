"""Which stages of an export run."""

import re
from pathlib import Path

import pytest

from trainer_ext.errors import UserError
from trainer_ext.export.stages import (
    DEFAULT_STAGES,
    GRAPH_PASSES,
    INT8_PASSES,
    OPTIONAL_STAGES,
    Stages,
    check_also,
    check_skip,
)

PAGE = Path(__file__).parents[2] / "docs/export.md"


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


def test_the_page_lists_what_can_be_skipped_and_asked_for():
    page = PAGE.read_text(encoding="utf-8")
    _, _, after = page.partition("\n## Stages\n")
    section, _, rest = after.partition("\n## ")
    rows = re.findall(r"^\| (?:`(\w+)`)? ?\| (?:`(\w+)`)? ?\| ", section, re.MULTILINE)
    stages, passes = zip(*rows, strict=True)
    assert tuple(filter(None, stages)) == DEFAULT_STAGES
    assert tuple(filter(None, passes)) == (*GRAPH_PASSES, *INT8_PASSES)
    for name in OPTIONAL_STAGES:
        assert f"\n- `{name}`: " in rest
