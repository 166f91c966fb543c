"""The routes of the server, as an ASGI application."""

import logging
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from trainer_ext.serving import answers
from trainer_ext.serving.answers import Question
from trainer_ext.serving.door import VISIT, Door
from trainer_ext.serving.errors import RequestError, invalid
from trainer_ext.serving.model import ServedModel
from trainer_ext.serving.openapi import describe, doc_of
from trainer_ext.serving.page import add_page, asset_routes
from trainer_ext.serving.schemas import (
    HubBody,
    InputsBody,
    TextBody,
    TextsBody,
    parse_classify,
    parse_predict,
)
from trainer_ext.serving.service import Ask, Service

OPENAI_ROUTES = "/v1/"
# Probes of a container's host come without a key.
PROBE_ROUTES = ("/health", "/ready")
# nginx's status for a client that went away; nobody reads it but the log.
CLIENT_GONE = 499
PREDICT_ASKS: Mapping[type, Ask] = {
    TextBody: answers.ask_text,
    TextsBody: answers.ask_texts,
    InputsBody: answers.ask_inputs,
    HubBody: answers.ask_hub,
}

logger = logging.getLogger(__name__)


def make_app(
    service: Service, key: str | None = None, log_texts: bool = False, page: bool = True
) -> Door:
    """Return the application.

    Args:
        service: answers.
        key: of the API; None: it is open.
        log_texts: whether the log holds the texts of requests.
        page: whether there is a page at `/`.
    """
    # Their pages load scripts from elsewhere.
    app = FastAPI(title="trainer-ext", version=own_version(), docs_url=None, redoc_url=None)
    app.state.service = service
    add_answers(app, service)
    add_state(app, service)
    add_errors(app)
    open_routes = set(PROBE_ROUTES)
    if page:
        add_page(app, service)
        open_routes |= asset_routes().keys()
    describe(app)
    return Door(app, service.metrics, key, log_texts, lambda: service.is_stopping, open_routes)


def own_version() -> str:
    """Return the version of the package; `unknown` if it is not installed."""
    try:
        return version("trainer-ext")
    except PackageNotFoundError:
        return "unknown"


def add_answers(app: FastAPI, service: Service) -> None:
    """Add the routes that answer for texts."""

    @app.post("/predict", summary="Answer for a text, or for several.", **doc_of("predict"))
    async def predict(request: Request) -> Response:
        return JSONResponse(await service.answer(request, parse_predict, ask_predict))

    @app.post("/v1/classify", summary="Classify texts as vLLM does.", **doc_of("classify"))
    async def classify(request: Request) -> Response:
        found = await service.answer(request, parse_classify, answers.ask_classify)
        visit = request.scope[VISIT]
        return JSONResponse(
            answers.classify_response(visit.request_id, visit.model, found, visit.job.tokens)
        )


def ask_predict(body: Any, model: ServedModel) -> Question:
    """Return the question of a body of /predict."""
    return PREDICT_ASKS[type(body)](body, model)


def add_state(app: FastAPI, service: Service) -> None:
    """Add the routes that tell how the server is."""

    @app.get("/health", summary="Whether the server can answer.", **doc_of("health"))
    async def health() -> Response:
        models = {}
        for name, model in service.models.items():
            models[name] = {
                "providers": model.providers,
                "runs": model.predictor.description,
                "waiting": model.batcher.waiting,
            }
        return state_response(service.models.are_alive, "ok", {"models": models})

    @app.get("/ready", summary="Whether it should be sent requests.", **doc_of("ready"))
    async def ready() -> Response:
        is_ready = service.models.are_alive and not service.is_stopping
        probes = {name: model.verdict for name, model in service.models.items()}
        return state_response(is_ready, "ready", {"probes": probes})

    @app.get("/info", summary="What is served, and within which limits.", **doc_of("info"))
    async def info() -> Response:
        return JSONResponse(server_info(service))

    @app.get("/metrics", summary="Counters for Prometheus.", **doc_of("metrics"))
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def state_response(is_good: bool, word: str, content: dict[str, Any]) -> JSONResponse:
    """Return 200 and a word, or 503."""
    if is_good:
        return JSONResponse({"status": word, **content})
    return JSONResponse({"status": f"not {word}", **content}, 503)


def server_info(service: Service) -> dict[str, Any]:
    """Return the content of /info; of the first model also under the names of text-embeddings-inference."""
    first = service.models.first
    limits = service.limits
    classes = list(getattr(first.task.label_space, "classes", ()))
    return {
        "model_id": first.name,
        "model_sha": first.version,
        "model_type": {
            "classifier": {
                "id2label": {str(number): name for number, name in enumerate(classes)},
                "label2id": {name: number for number, name in enumerate(classes)},
            }
        },
        "max_input_length": first.max_length,
        "max_concurrent_requests": limits.requests,
        "max_batch_tokens": limits.tokens,
        "max_client_batch_size": limits.texts,
        "auto_truncate": True,
        "version": own_version(),
        "models": [model.info() for model in service.models.values()],
        "limits": vars(limits),
    }


def add_errors(app: FastAPI) -> None:
    """Let every error be JSON, in the form of its route."""

    @app.exception_handler(RequestError)
    async def refuse(request: Request, error: RequestError) -> Response:
        return error_response(request, error)

    @app.exception_handler(RequestValidationError)
    async def refuse_query(request: Request, error: RequestValidationError) -> Response:
        # Of what is in the address: bodies are checked by their own routes. The value is not repeated.
        first = error.errors()[0]
        return error_response(request, invalid(str(first["loc"][-1]), first["msg"]))

    @app.exception_handler(ClientDisconnect)
    async def leave(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> Response:
        kind = "NotFound" if error.status_code == 404 else "Validation"
        refused = RequestError(error.status_code, kind, error.detail, headers=error.headers)
        return error_response(request, refused)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return error_response(request, RequestError(500, "Backend", "the server failed"))


def error_response(request: Request, error: RequestError) -> JSONResponse:
    """Return an error as clients of the route read it."""
    is_openai = request.url.path.startswith(OPENAI_ROUTES)
    content = error.openai_content() if is_openai else error.content()
    return JSONResponse(content, error.status, headers=error.headers)
