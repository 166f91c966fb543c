"""Answers of the model in each mode, and how one is found in a reply. Needs pydantic (the extra `llm`).

The docstrings of `Paraphrases` and `Judgement` are sent to the model as descriptions of the schema, and are part of the
cache's keys: another word there asks for every row again.

Models that think aloud do so before their answer, and may draft it there: what stands before the last closing tag of
their thoughts does not count, nor does an object that another one follows.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

# Tags that models in use put around their thoughts, and the channels of gpt-oss.
NAMES = "think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|seed:think"
OPENING = rf"<\s*(?:{NAMES})\s*>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>"
CLOSING = rf"<\s*/\s*(?:{NAMES})\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>"
CHANNEL = r"<\|channel\|>\s*(?:analysis|commentary)"
FINAL = r"<\|channel\|>\s*final"
TAG = re.compile(rf"(?P<closing>{CLOSING}|{FINAL})|{OPENING}|{CHANNEL}", re.IGNORECASE)
DECODER = json.JSONDecoder()
SHOWN = 80  # characters of a bad reply in a message
PROBLEMS_SHOWN = 3


class BadReply(ValueError):
    """A reply that is not a JSON object or does not follow the schema; the message says why."""


def check_share(value: float) -> float:
    """Return a number if it is from 0 to 1."""
    # A validator of ours, because the schemas that strict endpoints take know no `minimum` and `maximum`.
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
    score: Annotated[float, AfterValidator(check_share)]


class PseudoLabel(Answer):
    # No docstring: it would go into the schema that is sent.
    reason: str
    label: str


def pseudo_label(labels: Sequence[str]) -> type[PseudoLabel]:
    """Return the schema of mode label: `label` is one of `labels`; case and white space around it do not count."""
    by_key = {label.strip().casefold(): label for label in labels}

    def canonical(value: object) -> object:
        if isinstance(value, str):
            return by_key.get(value.strip().casefold(), value)
        return value

    choices: Any = Annotated[Literal[tuple(labels)], BeforeValidator(canonical)]
    return create_model("PseudoLabel", __base__=PseudoLabel, label=(choices, ...))


def schema_of(mode: str, labels: Sequence[str] = ()) -> type[Answer]:
    """Return the schema of a mode's answer."""
    if mode == "label":
        return pseudo_label(labels)
    if mode == "augment":
        return Paraphrases
    return Judgement


@dataclass(frozen=True)
class JsonObject:
    """A JSON object in a text, and the positions where it starts and ends."""

    start: int
    end: int
    value: dict[str, Any]


def parse(reply: str, schema: type[Answer]) -> Answer:
    """Return the answer in a reply: the last JSON object after the thoughts; words around it do not count.

    Raises:
        BadReply: if there is none, it does not follow the schema, or its texts cannot be written to a file.
    """
    objects = list(json_objects(reply))
    start = end_of_thoughts(reply, objects)
    if not objects or objects[-1].start < start:
        raise BadReply(f"not a JSON object: {reply[start:].strip()[:SHOWN]!r}")
    try:
        answer = schema.model_validate(objects[-1].value)
    except ValidationError as error:
        raise BadReply(problems_of(error)) from None
    check_characters(answer)
    return answer


def problems_of(error: ValidationError) -> str:
    """Return what breaks the schema, each problem with its place."""
    problems = []
    for problem in error.errors()[:PROBLEMS_SHOWN]:
        place = ".".join(map(str, problem["loc"])) or "answer"
        problems.append(f"{place}: {problem['msg']}")
    return "; ".join(problems)


def json_objects(text: str) -> Iterator[JsonObject]:
    """Yield every JSON object in a text that is not part of another one."""
    position = text.find("{")
    while position >= 0:
        end = position + 1
        # What is not JSON from here on may be from the next brace on.
        with suppress(ValueError, RecursionError):
            value, end = DECODER.raw_decode(text, position)
            yield JsonObject(position, end, value)
        position = text.find("{", end)


def end_of_thoughts(reply: str, objects: Sequence[JsonObject]) -> int:
    """Return where the thoughts of a reply end; 0 if it has none.

    Args:
        reply: what the model wrote.
        objects: the JSON objects in it, in order; nothing in their texts is a tag.

    Raises:
        BadReply: if the thoughts have no end.
    """
    end = 0
    opened: int | None = None
    # Bisected, because a long reply may hold ten thousand tags and as many objects.
    starts = [found.start for found in objects]
    for tag in TAG.finditer(reply):
        before = bisect_right(starts, tag.start()) - 1
        if before >= 0 and tag.start() < objects[before].end:
            continue
        if tag["closing"]:
            # A closing tag counts without an opening one: chat templates often write that one themselves.
            end = tag.end()
            opened = None
        elif opened is None:
            opened = tag.start()
    if opened is not None:
        raise BadReply(f"its thoughts have no end: {reply[opened:][:SHOWN]!r}")
    return end


def check_characters(answer: Answer) -> None:
    """Raise `BadReply` for half a surrogate pair in an answer: no file can hold it."""
    for value in answer.model_dump().values():
        texts = value if isinstance(value, list) else [str(value)]
        for text in texts:
            if printable(text) != text:
                raise BadReply(f"holds half a surrogate pair: {text[:SHOWN]!r}")


def printable(reply: str) -> str:
    """Return a reply that can be sent and written: halves of surrogate pairs become `?`."""
    return reply.encode("utf-8", "replace").decode("utf-8")
