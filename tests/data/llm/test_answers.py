"""Replies against the schemas: what models really send."""

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.llm.answers import (
    BadReply,
    Judgement,
    Paraphrases,
    parse,
    pseudo_label,
    schema_of,
)

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


DRAFT = '{"texts": ["a draft"]}'


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>first {DRAFT}</think>\n{GOOD}",
        f"First {DRAFT} but no.\n</think>\n{GOOD}",
        f"First:\n```json\n{DRAFT}\n```\nOn reflection no.\n</think>\n\n{GOOD}",
        f"Draft:\n```json\n{DRAFT}\n```\nFinal answer:\n```json\n{GOOD}\n```",
        f"<think>a {DRAFT}</think> {DRAFT} <think>b</think>{GOOD}",
        f"<think>a <think>b</think> {DRAFT} c</think>{GOOD}",
        *(
            f"<{name}>{DRAFT}</{name}>{GOOD}"
            for name in ("thinking", "thought", "reasoning", "THINK", "seed:think")
        ),
        f"[THINK]{DRAFT}[/THINK]{GOOD}",
        f"◁think▷{DRAFT}◁/think▷{GOOD}",
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>{GOOD}<|END_RESPONSE|>",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
        f'<think>a brace {{ and {{maybe}} and {{"x": 1</think>{GOOD}',
        f'{{"note": "</think>", "texts": ["a draft"]}} {GOOD}',
    ],
)
def test_thoughts_and_drafts_do_not_count(reply):
    assert parse(reply, Paraphrases).texts == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["what </think> is", "a <think> in it", "<analysis> of it", "a { in it", '"}']
)
def test_tags_and_braces_in_an_answer_are_text(text):
    assert parse(f"<think>x</think>{json.dumps({'texts': [text]})}", Paraphrases).texts == [text]


@pytest.mark.parametrize(
    "reply, message",
    [
        (
            f"<think>First:\n```json\n{DRAFT}\n```\nBut wait, the",
            "its thoughts have no end: '<think>First",
        ),
        (f"<thinking>{DRAFT}", "its thoughts have no end"),
        (f"<think>a</think><think>{DRAFT}", "its thoughts have no end"),
        (f"<|channel|>analysis<|message|>{DRAFT}", "its thoughts have no end"),
        (f"{DRAFT}</think>", "not a JSON object: ''"),
        (f"{DRAFT} or rather {{}}", "texts: Field required"),
        ('{"texts": ["cut emoji \\ud83d"]}', "half a surrogate pair"),
        ('{"texts": ["cut emoji \ud83d"]}', "half a surrogate pair"),
    ],
)
def test_what_a_thinking_model_did_not_finish_is_no_answer(reply, message):
    with pytest.raises(BadReply) as caught:
        parse(reply, Paraphrases)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "piece",
    ["{", '{"a":', "<think>", "</think>", '{"', "[", '{"a":1}', "<", "<|channel|>final", "{ "],
)
def test_time_grows_with_the_reply(piece):
    began = time.process_time()
    with contextlib.suppress(BadReply):
        parse(piece * 10000, Paraphrases)
    assert time.process_time() - began < 2


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
