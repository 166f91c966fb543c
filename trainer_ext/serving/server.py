"""One process of the server: uvicorn, the signals, and a stop that answers what was accepted."""

import asyncio
import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from trainer_ext.serving.app import make_app
from trainer_ext.serving.logs import FIELDS
from trainer_ext.serving.service import Service

BACKLOG = 2048
# How long connections that are kept open have to send one more request, whose answer closes them.
FAREWELL_SECONDS = 0.4
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Serve until SIGTERM or SIGINT; SIGHUP loads the models anew.

    Args:
        config: of uvicorn.
        service: that its application has.
        on_ready: called when connections are accepted.
    """

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]):
        super().__init__(config)
        self.service = service
        self.on_ready = on_ready
        self._reload: asyncio.Future[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the event loop; uvicorn would raise them once more when it has stopped."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            # A worker ignores Ctrl-C, of which it hears from its parent.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.stop, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        yield

    def stop(self, number: int) -> None:
        """Accept no more; a second SIGINT waits for nobody."""
        self.service.is_stopping = True
        logger.info("stopping: requests in hand are answered first")
        self.handle_exit(number, None)

    def reload(self) -> None:
        """Load the models anew beside the event loop, which goes on."""
        loop = asyncio.get_running_loop()
        self._reload = loop.run_in_executor(None, self.service.models.reload)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody new in, let clients that keep a connection hear of it, then stop.

        uvicorn closes a connection at once if nothing runs on it, and a request that is on its way there is lost.
        """
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + FAREWELL_SECONDS
        while self.server_state.connections and loop.time() < until:
            await asyncio.sleep(FAREWELL_SECONDS / 20)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.on_ready()


def serve(
    bound: socket.socket,
    service: Service,
    key: str | None,
    log_texts: bool,
    page: bool,
    grace: float,
    on_ready: Callable[[], None],
) -> None:
    """Serve until a signal says otherwise.

    Args:
        bound: from `bind`.
        service: answers.
        key: of the API.
        log_texts: whether the log holds the texts of requests.
        page: whether there is a page at `/`.
        grace: seconds that requests in hand have to be answered after a signal to stop.
        on_ready: called when connections are accepted.
    """
    host, port = bound.getsockname()[:2]

    def ready() -> None:
        place: dict[str, Any] = {"host": host, "port": port, "pid": os.getpid()}
        logger.info("listening on http://%s:%d", host, port, extra={FIELDS: place})
        on_ready()

    config = uvicorn.Config(
        make_app(service, key, log_texts, page),
        lifespan="off",
        ws="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(grace),
    )
    Server(config, service, ready).run([bound])
    service.models.close()
