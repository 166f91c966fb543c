"""A server on loopback in a thread of the test, as a context manager."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import Self


class LoopbackServer:
    """Its handler finds it as `self.server.owner`; `url` is known once it runs."""

    def __init__(
        self,
        handler: type[BaseHTTPRequestHandler],
        listener: type[ThreadingHTTPServer] = ThreadingHTTPServer,
    ):
        self.handler = handler
        self.listener = listener

    def __enter__(self) -> Self:
        self.http = self.listener(("127.0.0.1", 0), self.handler)
        self.http.owner = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self.http.shutdown()
        self.http.server_close()
