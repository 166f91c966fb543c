"""What a model has to answer in each mode, checked against a schema. Needs pydantic (the extra `llm`).

The docstrings of the schemas are sent along as their descriptions.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)


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
    return pseudo_label(labels) if mode == "label" else {"augment": Paraphrases, "filter": Judgement}[mode]


def parse(reply: str, schema: type[Answer]) -> Answer:
    """The answer in a reply; a fence around it, or words and thoughts beside it, do not count.

    Raises:
        BadReply: when there is none, or it does not follow the schema.
    """
    text = THOUGHTS.sub("", reply).strip()
    fenced = FENCE.search(text)
    candidates = [text, *([fenced[1]] if fenced else []), text[text.find("{") : text.rfind("}") + 1]]
    value = next((value for value in map(load, candidates) if isinstance(value, dict)), None)
    if value is None:
        raise BadReply(f"not a JSON object: {reply.strip()[:80]!r}")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:3])
        raise BadReply("; ".join(problems)) from None


def load(text: str) -> object:
    """JSON, or None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
