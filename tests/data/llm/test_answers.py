"""Replies against the schemas: what models really send."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.llm.answers import BadReply, Judgement, Paraphrases, parse, pseudo_label, schema_of

GOOD = '{"texts": ["a", "b"]}'


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"Here you are:\n{GOOD}\nAnything else?",
        f"<think>texts? {{maybe}}</think>{GOOD}",
        '{"texts": ["a", "b"], "note": "as asked"}',
    ],
)
def test_wrappings_do_not_count(reply):
    assert parse(reply, Paraphrases).texts == ["a", "b"]


@pytest.mark.parametrize(
    "reply, message",
    [
        ("not json", "not a JSON object: 'not json'"),
        ("", "not a JSON object"),
        ('["a"]', "not a JSON object"),
        ('{"texts": ["a", "b"', "not a JSON object"),
        ('{"texts": "a"}', "texts: Input should be a valid list"),
        ('{"texts": []}', "texts: List should have at least 1 item"),
        ('{"texts": [1]}', "texts.0: Input should be a valid string"),
        ("{}", "texts: Field required"),
    ],
)
def test_bad_replies_say_why(reply, message):
    with pytest.raises(BadReply) as caught:
        parse(reply, Paraphrases)
    assert message in str(caught.value)


def test_judgements():
    answer = parse('{"keep": true, "score": "0.9", "reason": "fits"}', Judgement)
    assert (answer.keep, answer.score, answer.reason) == (True, 0.9, "fits")
    for score in ("85", "-0.1", "NaN"):
        with pytest.raises(BadReply, match="score: .*from 0 to 1"):
            parse(f'{{"keep": true, "score": {score}, "reason": ""}}', Judgement)


def test_labels_are_those_of_the_list():
    schema = pseudo_label(["Method", "background"])
    assert parse('{"label": " method ", "reason": "r"}', schema).label == "Method"
    for label in ('"result"', "null", "3"):
        with pytest.raises(BadReply, match="label: Input should be 'Method' or 'background'"):
            parse(f'{{"label": {label}, "reason": "r"}}', schema)


@pytest.mark.parametrize("mode", ["augment", "filter", "label"])
def test_schemas_are_what_strict_servers_take(mode):
    """Every key required, none besides."""
    schema = schema_of(mode, ["a", "b"]).model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"])
    if mode == "label":
        assert schema["properties"]["label"]["enum"] == ["a", "b"]


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_is_an_answer_or_a_bad_reply(text):
    with contextlib.suppress(BadReply):
        parse(text, Judgement)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=1), st.text())
def test_what_is_there_is_found(texts, noise):
    noise = noise.replace("{", "").replace("}", "").replace("<", "").replace("`", "")
    assert parse(noise + json.dumps({"texts": texts}) + noise, Paraphrases).texts == texts
