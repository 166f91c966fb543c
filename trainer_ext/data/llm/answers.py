"""What a model has to answer in each mode, checked against a schema. Needs pydantic (the extra `llm`).

The docstrings of the schemas are sent along as their descriptions. Models that think aloud do so before their answer,
and may draft it there: what stands before the last closing tag of thoughts does not count, nor does an object that
another one follows.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

NAMES = "think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|seed:think"
OPENING = rf"<\s*(?:{NAMES})\s*>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>"
CLOSING = rf"<\s*/\s*(?:{NAMES})\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>"
CHANNEL, FINAL = r"<\|channel\|>\s*(?:analysis|commentary)", r"<\|channel\|>\s*final"
TAG = re.compile(rf"(?P<closing>{CLOSING}|{FINAL})|{OPENING}|{CHANNEL}", re.IGNORECASE)
DECODER = json.JSONDecoder()


class BadReply(ValueError):
    """A reply that is no JSON object, or does not follow the schema; the message says why."""


def share(value: float) -> float:
    """A number from 0 to 1 (checked here: the schemas that endpoints take know no bounds)."""
    if not 0 <= value <= 1:
        raise ValueError(f"must be from 0 to 1, not {value}")
    return value


class Answer(BaseModel):
    """Keys that were not asked for are left out."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": False})


class Paraphrases(Answer):
    """New versions of the text."""

    texts: list[str] = Field(min_length=1)


class Judgement(Answer):
    """Whether the row is kept."""

    reason: str
    keep: bool
    score: Annotated[float, AfterValidator(share)]


def pseudo_label(labels: Sequence[str]) -> type[Answer]:
    """Mode label: `reason` and a `label` that is one of `labels`; case and blanks around it do not count."""
    names = {label.strip().casefold(): label for label in labels}

    def known(value: object) -> object:
        return names.get(value.strip().casefold(), value) if isinstance(value, str) else value

    label = Annotated[Literal[tuple(labels)], BeforeValidator(known)]
    return create_model("PseudoLabel", __base__=Answer, reason=(str, ...), label=(label, ...))


def schema_of(mode: str, labels: Sequence[str] = ()) -> type[Answer]:
    """The schema of a mode's answer."""
    return (
        pseudo_label(labels)
        if mode == "label"
        else {"augment": Paraphrases, "filter": Judgement}[mode]
    )


def parse(reply: str, schema: type[Answer]) -> Answer:
    """The answer in a reply: the last JSON object behind the thoughts; a fence or words around it do not count.

    Raises:
        BadReply: when there is none, it does not follow the schema, or its texts cannot be written to a file.
    """
    objects = list(json_objects(reply))
    start = end_of_thoughts(reply, [(first, last) for first, last, _ in objects])
    values = [value for first, _, value in objects if first >= start]
    if not values:
        raise BadReply(f"not a JSON object: {reply[start:].strip()[:80]!r}")
    try:
        answer = schema.model_validate(values[-1])
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:3]
        )
        raise BadReply("; ".join(problems)) from None
    check_characters(answer)
    return answer


def json_objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(start, end, value) of every JSON object in a text that is not part of another one."""
    position = text.find("{")
    while position >= 0:
        end = position + 1
        with suppress(ValueError, RecursionError):
            value, end = DECODER.raw_decode(text, position)
            yield position, end, value
        position = text.find("{", end)


def end_of_thoughts(reply: str, objects: list[tuple[int, int]]) -> int:
    """Where the thoughts of a reply end; 0 where there are none.

    Args:
        reply: what the model wrote.
        objects: start and end of the JSON objects in it, in order; nothing in their texts is a tag.

    Raises:
        BadReply: when there is no end.
    """
    end, opened = 0, None
    starts = [first for first, _ in objects]
    for tag in TAG.finditer(reply):
        before = bisect_right(starts, tag.start()) - 1
        if before >= 0 and tag.start() < objects[before][1]:
            continue
        if tag["closing"]:
            end, opened = tag.end(), None
        elif opened is None:
            opened = tag.start()
    if opened is not None:
        raise BadReply(f"its thoughts have no end: {reply[opened:][:80]!r}")
    return end


def check_characters(answer: Answer) -> None:
    """Raise `BadReply` for half a surrogate pair in an answer: no file can hold it."""
    for value in answer.model_dump().values():
        for text in value if isinstance(value, list) else [str(value)]:
            if printable(text) != text:
                raise BadReply(f"holds half a surrogate pair: {text[:80]!r}")


def printable(reply: str) -> str:
    """A reply that can be sent and written: halves of surrogate pairs become `?`."""
    return reply.encode("utf-8", "replace").decode("utf-8")
