"""Why a request has no answer: one exception, with the status and the type that clients are told."""

from collections.abc import Mapping, Sequence
from typing import Any

# Seconds after which a client that was turned away may try again.
RETRY_AFTER = "1"


class RequestError(Exception):
    """A request that is refused, or has failed.

    Attributes:
        status: of HTTP.
        kind: the type, in the words of text-embeddings-inference where it has one.
        message: what is wrong; never a part of a text.
        fields: pairs of a place in the body (`texts.3`) and what is wrong with it.
        headers: sent with it.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        fields: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.fields = fields
        self.headers = dict(headers or {})

    def content(self) -> dict[str, Any]:
        """Return `{"error", "error_type"}`, and `details` by field."""
        content: dict[str, Any] = {"error": self.message, "error_type": self.kind}
        if self.fields:
            content["details"] = [
                {"field": field, "reason": reason} for field, reason in self.fields
            ]
        return content

    def openai_content(self) -> dict[str, Any]:
        """Return the same as clients of OpenAI's API read it."""
        param = self.fields[0][0] if self.fields else None
        error = {"message": self.message, "type": self.kind, "param": param, "code": self.status}
        return {"error": error}


def invalid(field: str, reason: str) -> RequestError:
    """Return the error for a part of a body that is wrong."""
    return RequestError(422, "Validation", f"{field}: {reason}", [(field, reason)])


def overloaded(reason: str) -> RequestError:
    """Return the error for a server that is full."""
    return RequestError(503, "Overloaded", reason, headers={"Retry-After": RETRY_AFTER})


def too_large(reason: str) -> RequestError:
    """Return the error for a body that is not read to its end."""
    return RequestError(413, "Validation", reason)


def timed_out(seconds: float) -> RequestError:
    """Return the error for a request that has waited too long."""
    return RequestError(504, "Timeout", f"not answered within {seconds:g} seconds")
