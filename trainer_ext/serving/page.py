"""The page at `/`: HTML, CSS and JavaScript of our own, and the routes that only it calls.

It is not made with Gradio: docs/serving.md says why. The browser gets nothing but the files in `static/`, sends the
texts to the routes that every other client uses, and reads csv files itself: the server never sees a file.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.responses import JSONResponse

from trainer_ext.serving import answers
from trainer_ext.serving.documents import listing
from trainer_ext.serving.errors import RequestError
from trainer_ext.serving.openapi import doc_of
from trainer_ext.serving.schemas import parse_texts
from trainer_ext.serving.service import Service

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The browser itself refuses whatever is not from this server: scripts, styles, fonts, pictures and requests alike, and
# everything that is written into the page. blob: is for plots and the csv that are made in the browser.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked for anew each time, and sent anew only if a new version of the server has another one.
    "Cache-Control": "no-cache",
}


def asset_routes() -> dict[str, Path]:
    """Return the files of the page by route; they hold nothing of any model, and need no API key."""
    routes = {"/": STATIC / INDEX}
    for path in sorted(STATIC.iterdir()):
        if path.suffix in TYPES and path.name != INDEX:
            routes[f"/page/{path.name}"] = path
    return routes


def add_page(app: FastAPI, service: Service) -> None:
    """Add the page and what it asks for."""
    # A route for each file: no part of a path that a client sends is looked up on the disk.
    for route, path in asset_routes().items():
        # Plain ones: FastAPI takes a millisecond to look at the arguments of each endpoint.
        app.add_route(route, asset_endpoint(path), methods=["GET"], include_in_schema=False)

    @app.get("/page/documents", summary="A model's card, metrics and plots.", **doc_of("documents"))
    async def documents(model: str | None = None) -> Response:
        served = service.find(model)
        content = {"model": served.name, "documents": listing(served.documents)}
        return JSONResponse(content)

    @app.get("/page/image", summary="One plot of a model.", **doc_of("image"))
    async def image(number: int, model: str | None = None) -> Response:
        found = service.find(model).documents
        if not 0 <= number < len(found) or found[number].kind != "image":
            raise RequestError(404, "NotFound", "there is no such plot")
        return Response(found[number].content, media_type="image/png", headers=HEADERS)

    @app.post("/page/rows", summary="Answers as rows of csv.", **doc_of("rows"))
    async def rows(request: Request) -> Response:
        return JSONResponse(await service.answer(request, parse_texts, answers.ask_rows))


def asset_endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers with a file of the page, which is read now."""
    content = path.read_bytes()
    tag = f'"{sha256(content).hexdigest()[:16]}"'
    headers = {**HEADERS, "ETag": tag}
    media_type = TYPES[path.suffix]
    answer = partial(Response, media_type=media_type, headers=headers)

    async def endpoint(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return answer(status_code=304)
        return answer(content)

    return endpoint
