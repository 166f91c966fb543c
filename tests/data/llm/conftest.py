"""An OpenAI-compatible server on the loopback device that does what a test tells it to, well or badly."""

import http.server
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass
class Reply:
    """One HTTP reply: the text of a completion, or another `status`, or raw `body`; maybe late, maybe cut short."""

    text: str | None = ""
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes | None = None
    delay: float = 0.0
    cut: bool = False
    usage: bool = True
    finish_reason: str = "stop"
    reasoning_content: str | None = None


class LoopbackServer:
    """Answers request number n (from 1) with `script(n, request)`; keeps every request and its headers."""

    def __init__(self):
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.script: Callable[[int, dict], Reply] = lambda n, request: Reply("{}")
        self.lock = threading.Lock()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.requests.append(request)
                    server.headers.append(
                        {name.lower(): value for name, value in self.headers.items()}
                    )
                    number = len(server.requests)
                server.send(self, server.script(number, request))

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def send(self, handler: http.server.BaseHTTPRequestHandler, reply: Reply) -> None:
        time.sleep(reply.delay)
        body = reply.body if reply.body is not None else completion(reply)
        try:
            handler.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[: len(body) // 2] if reply.cut else body)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up
            return
        handler.close_connection = reply.cut


def completion(reply: Reply) -> bytes:
    """A chat completion as such servers send it."""
    message = {"role": "assistant", "content": reply.text}
    if reply.reasoning_content is not None:
        message["reasoning_content"] = reply.reasoning_content
    choices = [{"index": 0, "finish_reason": reply.finish_reason, "message": message}]
    value = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
    tokens = {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}
    return json.dumps(value | ({"usage": tokens} if reply.usage else {})).encode()


@pytest.fixture
def server(monkeypatch):
    """A fresh server, reached without a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = LoopbackServer()
    yield server
    server.http.shutdown()
    server.http.server_close()
