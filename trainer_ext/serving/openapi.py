"""The OpenAPI description, with examples: FastAPI's own, and the bodies that the routes check themselves."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from trainer_ext.serving.schemas import ALL_BODIES, ClassifyBody, TextsBody

REFERENCE = "#/components/schemas/{model}"
ERROR = {"error": "text: Input should be a valid string", "error_type": "Validation"}
OPENAI_ERROR = {"error": {"message": "...", "type": "Validation", "param": "input", "code": 422}}
PREDICTED = {
    "text": "a good film",
    "pred_class": "positive",
    "confidence": 0.97,
    "status": 200,
    "label": "positive",
    "score": 0.97,
    "probabilities": {"negative": 0.03, "positive": 0.97},
}
SCORES = [{"label": "positive", "score": 0.97}, {"label": "negative", "score": 0.03}]
CLASSIFIED = {
    "id": "classify-1f0c",
    "object": "list",
    "created": 1764288000,
    "model": "films",
    "data": [{"index": 0, "label": "positive", "probs": [0.03, 0.97], "num_classes": 2}],
    "usage": {"prompt_tokens": 5, "total_tokens": 5, "completion_tokens": 0},
}
CARD = {"name": "README.md", "kind": "markdown", "content": "# films"}
REFUSALS = {
    400: "The body is not JSON.",
    401: "The API key is missing or wrong.",
    404: "There is no such model.",
    413: "The body is too large.",
    422: "The body is JSON of another form; field and reason are in the answer.",
    500: "The model failed on a text.",
    503: "The queue is full: try again after Retry-After seconds.",
    504: "Not answered in time.",
}
# Of routes without a body, if they can refuse otherwise than by saying how the server is.
OF_DOCUMENTS = {status: REFUSALS[status] for status in (401, 404, 422)}
GET_REFUSALS = {"documents": OF_DOCUMENTS, "image": OF_DOCUMENTS}
# What is not JSON, and its media type.
OTHER_FORMATS = {
    "metrics": ("Prometheus' text format.", "text/plain"),
    "image": ("The plot.", "image/png"),
}
# By the name of the route: names of its bodies, examples of its answers.
BODIES: dict[str, list[str]] = {
    "predict": [body.__name__ for body in ALL_BODIES],
    "classify": [ClassifyBody.__name__],
    "rows": [TextsBody.__name__],
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "predict": {
        "text": PREDICTED,
        "texts": [PREDICTED],
        "inputs": SCORES,
        "batch of inputs": [SCORES],
    },
    "classify": {"input": CLASSIFIED},
    "health": {"health": {"status": "ok", "models": {}}},
    "ready": {"ready": {"status": "ready", "probes": {"films": "proven"}}},
    "info": {"info": {"model_id": "films"}},
    "documents": {"documents": {"model": "films", "documents": [CARD]}},
    "rows": {"rows": {"columns": ["label", "score"], "rows": [["positive", 0.97]]}},
}


def doc_of(route: str) -> dict[str, Any]:
    """Return the arguments of a route's decorator that describe it."""
    examples = EXAMPLES.get(route)
    if examples is None:
        description, media_type = OTHER_FORMATS[route]
        good = {"description": description, "content": {media_type: {}}}
    else:
        good = {"description": "The answer.", "content": json_content(examples)}
    responses: dict[int | str, dict[str, Any]] = {200: good}
    if route not in BODIES:
        for status, meaning in GET_REFUSALS.get(route, {503: "It is not."}).items():
            responses[status] = {"description": meaning, "content": json_content({"error": ERROR})}
        return {"responses": responses, "response_model": None}
    error = OPENAI_ERROR if route == "classify" else ERROR
    for status, meaning in REFUSALS.items():
        responses[status] = {"description": meaning, "content": json_content({"error": error})}
    references = [{"$ref": REFERENCE.format(model=name)} for name in BODIES[route]]
    body = {"required": True, "content": {"application/json": {"schema": {"anyOf": references}}}}
    return {
        "responses": responses,
        "response_model": None,
        "openapi_extra": {"requestBody": body},
    }


def json_content(examples: dict[str, Any]) -> dict[str, Any]:
    """Return the `content` of a response in JSON."""
    values = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": {"schema": {}, "examples": values}}


def describe(app: FastAPI) -> None:
    """Let the application's description have the schemas of the bodies that its routes read."""
    bodies: list[type[BaseModel]] = [*ALL_BODIES, ClassifyBody]
    _, definitions = models_json_schema(
        [(body, "validation") for body in bodies], ref_template=REFERENCE
    )
    description = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = description.setdefault("components", {}).setdefault("schemas", {})
    components.update(definitions["$defs"])
    app.openapi = lambda: description  # type: ignore[method-assign]  # as FastAPI's manual has it
