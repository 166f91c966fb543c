"""Prompt files: what is put in, what is refused, and those of the package."""

import pytest

from trainer_ext.data.io.readers import Row
from trainer_ext.data.llm.answers import schema_of
from trainer_ext.data.llm.prompt import read_prompt
from trainer_ext.errors import UserError

SCHEMA = {"type": "object"}


def own(tmp_path, template: str, label_columns=("label",), **kwargs):
    path = tmp_path / "prompt.md"
    path.write_text(template, encoding="utf-8")
    return read_prompt(str(path), "augment", "en", SCHEMA, "text", label_columns, **kwargs)


def test_placeholders(tmp_path):
    prompt = own(
        tmp_path,
        "Be brief.\n---\n{{ text }}|{{label}}|{{labels}}|{{count}}|{{schema}}|{x}\n",
        count=3,
    )
    assert prompt.messages(Row({"text": "a {{label}} $1", "label": "b"}, "f")) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": 'a {{label}} $1|b||3|{"type": "object"}|{x}'},
    ]


def test_labels_of_every_task(tmp_path):
    row = Row({"text": "t", "food": 1, "staff": "-1", "labels": ["joy", "love"]}, "f")
    for columns, shown in (
        (("food", "staff"), "food: 1; staff: -1"),
        (("labels",), "joy, love"),
        ((), "-"),
    ):
        (message,) = own(tmp_path, "{{text}} {{label}}", columns).messages(row)
        assert message["content"] == f"t {shown}"


def test_a_label_is_needed_only_where_it_is_shown(tmp_path):
    row = Row({"text": "t"}, "f, row 3")
    assert own(tmp_path, "{{text}}").messages(row) == [{"role": "user", "content": "t"}]
    with pytest.raises(
        UserError, match="f, row 3: the prompt shows the label, but there is none in column 'label'"
    ):
        own(tmp_path, "{{text}} {{label}}").messages(row)


@pytest.mark.parametrize(
    "template, message",
    [
        ("{{txt}}", "unknown placeholder 'txt'; did you mean 'text'"),
        ("no text", r"has no \{\{text\}\}"),
    ],
)
def test_templates_that_cannot_work(tmp_path, template, message):
    with pytest.raises(UserError, match=message):
        own(tmp_path, template)
    with pytest.raises(UserError, match="cannot be read"):
        read_prompt(str(tmp_path / "none.md"), "augment", "en", SCHEMA, "text", ["label"])


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("mode", ["augment", "filter", "label"])
def test_our_prompts(mode, language):
    """They show the text, the schema, and what the mode is about."""
    schema = schema_of(mode, ["LABEL-A", "LABEL-B"]).model_json_schema()
    prompt = read_prompt(None, mode, language, schema, "text", ["label"], ["LABEL-A", "LABEL-B"], 7)
    system, user = prompt.messages(Row({"text": "THE TEXT", "label": "THE LABEL"}, "f"))
    assert system["role"] == "system" and "{{" not in user["content"]
    assert "THE TEXT" in user["content"] and '"additionalProperties": false' in user["content"]
    shown = {"augment": ["THE LABEL", "7"], "filter": ["THE LABEL"], "label": ["LABEL-A, LABEL-B"]}[
        mode
    ]
    assert all(text in user["content"] for text in shown)
    assert ("THE LABEL" in user["content"]) == (mode != "label")
