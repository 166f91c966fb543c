"""What one server takes on at most: everything that waits in memory has a bound."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The bounds of a server.

    Attributes:
        body: bytes of a request.
        texts: of a request.
        characters: of a text.
        queue: texts that wait for a model.
        requests: that are read, wait or are answered at the same time.
        seconds: from the first byte of a request's body to its answer.
        rows: texts in one run of a model.
        tokens: in one run of a model, padding included.
    """

    body: int = 1 << 20
    texts: int = 128
    characters: int = 100_000
    queue: int = 1024
    requests: int = 1024
    seconds: float = 30.0
    rows: int = 32
    tokens: int = 4096
