"""What every request passes: its id, the API key, the headers with times, the counters and the log."""

import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from random import getrandbits
from time import perf_counter
from typing import Any

from starlette.responses import JSONResponse

from trainer_ext.serving.batching import Job
from trainer_ext.serving.logs import FIELDS
from trainer_ext.serving.metrics import STAGES, Metrics

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

VISIT = "trainer_ext.visit"  # the key of a request's scope
# What a client may choose as the id of its request: it is sent back and logged.
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
BEARER = b"bearer "

logger = logging.getLogger(__name__)


@dataclass
class Visit:
    """What is known of a request while it is answered.

    Attributes:
        request_id: the client's own, or a random one.
        model: that answers; empty before it is known.
        job: None before it waits for the model.
        texts: for the log, if it may hold them.
        status: of the response.
    """

    request_id: str
    model: str = ""
    job: Job | None = None
    texts: list[str] = field(default_factory=list)
    status: int = 0
    started: float = field(default_factory=perf_counter)

    @property
    def times(self) -> dict[str, float]:
        """Return the seconds of each stage so far."""
        total = {"total": perf_counter() - self.started}
        if self.job is None:
            return total
        return {**vars(self.job.times), **total}


class Door:
    """Wrap an ASGI application.

    Args:
        app: that answers.
        metrics: of the server.
        key: that requests have to bring as `Authorization: Bearer KEY`; None: they need none.
        log_texts: whether the log holds the texts of requests.
        is_stopping: tells whether connections are to be closed behind their next answer.
        open_routes: that need no key.
    """

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        key: str | None,
        log_texts: bool,
        is_stopping: Callable[[], bool],
        open_routes: Collection[str],
    ):
        self.app = app
        self.metrics = metrics
        self.key_digest = digest(key.encode()) if key else None
        self.log_texts = log_texts
        self.is_stopping = is_stopping
        self.open_routes = open_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        visit = Visit(request_id(headers.get(b"x-request-id", b"")))
        scope[VISIT] = visit

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message["headers"], *response_headers(visit)]
                if self.is_stopping():
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        app = self.app
        if not self.is_allowed(scope["path"], headers.get(b"authorization", b"")):
            app = refusal()
        try:
            await app(scope, receive, send_with_headers)
        finally:
            self.note(scope, visit)

    def is_allowed(self, path: str, authorization: bytes) -> bool:
        """Tell whether a request brings the key, or needs none."""
        if self.key_digest is None or path in self.open_routes:
            return True
        if not authorization.lower().startswith(BEARER):
            return False
        # Digests are of one length, and the comparison takes as long wherever they differ.
        given = digest(authorization[len(BEARER) :].strip())
        return hmac.compare_digest(given, self.key_digest)

    def note(self, scope: Scope, visit: Visit) -> None:
        """Count and log a request."""
        # Paths that are no route would fill the memory with counters.
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.request(route, visit.model, visit.status)
        times = visit.times
        if visit.job is not None:
            for stage in STAGES:
                self.metrics.stage(visit.model, stage, times[stage])
        if not logger.isEnabledFor(logging.INFO):
            return
        line: dict[str, Any] = {
            "request_id": visit.request_id,
            "method": scope["method"],
            "route": route,
            "status": visit.status,
        }
        if visit.job is not None:
            line |= {
                "model": visit.model,
                "texts": len(visit.job.items),
                "tokens": visit.job.tokens,
            }
        line |= {f"{stage}_ms": milliseconds(seconds) for stage, seconds in times.items()}
        if self.log_texts and visit.texts:
            line["text"] = visit.texts
        logger.info("request", extra={FIELDS: line})


def request_id(given: bytes) -> str:
    """Return the client's id of a request if it is one, else a random one."""
    if REQUEST_ID.fullmatch(given):
        return given.decode()
    # Not uuid4, whose system call gives the interpreter to the model's threads: a tenth of a request's time.
    return f"{getrandbits(128):032x}"


def digest(key: bytes) -> bytes:
    """Return the hash of a key."""
    return hashlib.sha256(key).digest()


def milliseconds(seconds: float) -> float:
    """Return milliseconds, to the microsecond."""
    return round(seconds * 1000, 3)


def response_headers(visit: Visit) -> list[tuple[bytes, bytes]]:
    """Return the id of a request and its times, named as text-embeddings-inference names them."""
    headers = [(b"x-request-id", visit.request_id.encode())]
    for stage, seconds in visit.times.items():
        headers.append((f"x-{stage}-time".encode(), str(milliseconds(seconds)).encode()))
    if visit.job is not None:
        headers.append((b"x-compute-tokens", str(visit.job.tokens).encode()))
    return headers


def refusal() -> App:
    """Return what answers a request without the key."""
    content = {
        "error": "the API key is missing or wrong: Authorization: Bearer KEY",
        "error_type": "Unauthorized",
    }
    return JSONResponse(content, 401, headers={"WWW-Authenticate": "Bearer"})
