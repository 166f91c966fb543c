"""The bodies of requests: what is accepted, and the examples of the OpenAPI page."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import PydanticCustomError, from_json

from trainer_ext.serving.errors import RequestError, invalid

ModelName = Annotated[str | None, Field(description="Which model answers; the first if left out.")]
Texts = Annotated[list[str], Field(min_length=1)]
# A text or a list: which one is told first, so that an error is about that one alone.
ONE, LIST, BATCH = "<text>", "<list>", "<batch>"
Body = TypeVar("Body", bound=BaseModel)


def form_of(value: Any) -> str:
    """Return what a value is meant to be: a text, a list of texts, or a list of lists."""
    if not isinstance(value, list):
        return ONE
    if any(isinstance(item, list) for item in value):
        return BATCH
    return LIST


def form_of_texts(value: Any) -> str:
    """Return the same where there are no lists of lists."""
    return LIST if isinstance(value, list) else ONE


OneOrMore = Annotated[
    Annotated[str, Tag(ONE)] | Annotated[Texts, Tag(LIST)], Discriminator(form_of_texts)
]


class Strict(BaseModel):
    """Take values as they are: no "yes" for true, and no number for a text."""

    model_config = ConfigDict(strict=True)


class TextBody(Strict):
    """One text."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "a good film"}]}
    )
    text: str
    model: ModelName = None


class TextsBody(Strict):
    """Several texts."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["a good film", "a dull one"]}]}
    )
    texts: Texts
    model: ModelName = None


class Parameters(Strict):
    """What the Hub's inference clients send along."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None
    # JSON has one kind of number: 3.0 is a whole one.
    top_k: int | None = Field(None, ge=1, strict=False)


def check_one_text(texts: list[str]) -> list[str]:
    """Return a list of one text; an error for a pair, or more."""
    if len(texts) == 1:
        return texts
    raise PydanticCustomError(
        "pair",
        "expected a list of one text, got {count}: the model takes no pairs; a batch is a list of such lists",
        {"count": len(texts)},
    )


OneText = Annotated[
    list[str],
    AfterValidator(check_one_text),
    Field(json_schema_extra={"minItems": 1, "maxItems": 1}),
]
Batch = Annotated[list[OneText], Field(min_length=1)]


class InputsBody(Strict):
    """A text, or a batch of lists of one text each, as text-embeddings-inference takes them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "a good film"},
                {"inputs": [["a good film"], ["a dull one"]], "raw_scores": True},
            ]
        }
    )
    inputs: Annotated[
        Annotated[str, Tag(ONE)] | Annotated[OneText, Tag(LIST)] | Annotated[Batch, Tag(BATCH)],
        Discriminator(form_of),
    ]
    raw_scores: bool = Field(False, description="Logits instead of probabilities.")
    truncate: bool = Field(True, description="Cut long texts as in training; false: refuse them.")
    model: ModelName = None


class HubBody(Strict):
    """A text or several, with parameters, as the Hub's inference clients send them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": "a good film", "parameters": {"top_k": 1}}]}
    )
    inputs: OneOrMore
    parameters: Parameters
    model: ModelName = None


class ClassifyBody(Strict):
    """A text or several, as vLLM and SGLang take them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "films", "input": ["a good film"]}]}
    )
    model: ModelName = None
    input: OneOrMore


# By the key that tells which form a body of /predict has; the last one has the key `parameters`, too.
PREDICT_BODIES: dict[str, type[BaseModel]] = {
    "text": TextBody,
    "texts": TextsBody,
    "inputs": InputsBody,
}
ALL_BODIES: list[type[BaseModel]] = [*PREDICT_BODIES.values(), HubBody]


def parse_json(raw: bytes) -> dict[str, Any]:
    """Return a body's JSON object.

    Raises:
        RequestError: if it is not one.
    """
    try:
        content = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        # Says where, and quotes nothing.
        raise RequestError(400, "Validation", f"the body is not JSON: {error}") from None
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
    form = PREDICT_BODIES[found[0]]
    if form is InputsBody and content.get("parameters") is not None:
        form = HubBody
    return validate(form, content)


def parse_texts(raw: bytes) -> TextsBody:
    """Return the body of /page/rows; `RequestError` if it is not one."""
    return validate(TextsBody, parse_json(raw))


def parse_classify(raw: bytes) -> ClassifyBody:
    """Return the body of /v1/classify; `RequestError` if it is not one."""
    return validate(ClassifyBody, parse_json(raw))


def validate(body: type[Body], content: dict[str, Any]) -> Body:
    """Return a checked body; `RequestError` with each field that is wrong, and why."""
    try:
        return body.model_validate(content)
    except ValidationError as error:
        # Not the input, which may be a text.
        found = error.errors(include_url=False, include_context=False, include_input=False)
    fields = []
    for item in found[:20]:
        fields.append((place_of(item["loc"]), item["msg"]))
    place, reason = fields[0]
    raise RequestError(422, "Validation", f"{place}: {reason}", fields)


def place_of(location: tuple[int | str, ...]) -> str:
    """Return `texts.1` for an error's location, without the forms that were told apart."""
    parts = [str(part) for part in location if part not in (ONE, LIST, BATCH)]
    return ".".join(parts)
