"""The bodies of requests: what is accepted, and the examples of the OpenAPI page."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from trainer_ext.serving.errors import RequestError, invalid

ModelName = Annotated[str | None, Field(description="Which model answers; the first if left out.")]
Body = TypeVar("Body", bound=BaseModel)


class TextBody(BaseModel):
    """One text."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "a good film"}]}
    )
    text: str
    model: ModelName = None


class TextsBody(BaseModel):
    """Several texts."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["a good film", "a dull one"]}]}
    )
    texts: list[str] = Field(min_length=1)
    model: ModelName = None


class Parameters(BaseModel):
    """What the Hub's inference clients send along."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None
    top_k: int | None = Field(None, ge=1)


class InputsBody(BaseModel):
    """A text, or a batch of lists of one text each, as text-embeddings-inference takes them.

    With `parameters`, as the Hub's inference clients send them, a list of texts is a batch, too.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "a good film"},
                {"inputs": [["a good film"], ["a dull one"]], "raw_scores": True},
            ]
        }
    )
    inputs: str | list[str] | list[list[str]] = Field(min_length=0)
    raw_scores: bool = Field(False, description="Logits instead of probabilities.")
    truncate: bool = Field(True, description="Cut long texts as in training; false: refuse them.")
    parameters: Parameters | None = None
    model: ModelName = None


class ClassifyBody(BaseModel):
    """A text or several, as vLLM and SGLang take them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "films", "input": ["a good film"]}]}
    )
    model: ModelName = None
    input: str | list[str]


# By the key that tells which form a body of /predict has.
PREDICT_BODIES: dict[str, type[BaseModel]] = {
    "text": TextBody,
    "texts": TextsBody,
    "inputs": InputsBody,
}


def parse_json(raw: bytes) -> dict[str, Any]:
    """Return a body's JSON object.

    Raises:
        RequestError: if it is not one.
    """
    try:
        content = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        # Says where, and quotes nothing.
        raise RequestError(400, "validation", f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise invalid("body", "expected a JSON object")
    return content


def parse_predict(raw: bytes) -> BaseModel:
    """Return the body of /predict in the form that it has; `RequestError` if it has none, or two."""
    content = parse_json(raw)
    found = [key for key in PREDICT_BODIES if key in content]
    if len(found) != 1:
        got = " and ".join(found) or "none of them"
        raise invalid("body", f"expected one of {', '.join(PREDICT_BODIES)}; got {got}")
    return validate(PREDICT_BODIES[found[0]], content)


def parse_classify(raw: bytes) -> ClassifyBody:
    """Return the body of /v1/classify; `RequestError` if it is not one."""
    return validate(ClassifyBody, parse_json(raw))


def validate(body: type[Body], content: dict[str, Any]) -> Body:
    """Return a checked body; `RequestError` with each field that is wrong, and why."""
    try:
        return body.model_validate(content, strict=True)
    except ValidationError as error:
        # Not the input, which may be a text.
        found = error.errors(include_url=False, include_context=False, include_input=False)
    fields = []
    for item in found[:20]:
        fields.append((".".join(map(str, item["loc"])), item["msg"]))
    place, reason = fields[0]
    raise RequestError(422, "validation", f"{place}: {reason}", fields)
