"""Read what a chat endpoint sends back: the reply, why it ended, and how many tokens it took."""

import json
from dataclasses import dataclass
from typing import Any

import httpx2

# An estimate, for servers that do not count tokens.
CHARACTERS_PER_TOKEN = 3


class NotACompletion(httpx2.RemoteProtocolError):
    """The body of a response is not a chat completion.

    The `openai` client repeats a request that ends with an error of the connection, which this is for it: servers under
    load send half a body, or an error with status 200.
    """


@dataclass(frozen=True)
class Completion:
    """The model's reply, the server's `finish_reason`, and the tokens of request and reply together."""

    text: str
    finish_reason: str | None
    tokens: int


def read_completion(response: httpx2.Response) -> Completion:
    """Read a chat completion from the body of a response.

    Raises:
        NotACompletion: if the body is not JSON or holds no reply.
    """
    try:
        body = response.json()
    except ValueError as error:
        raise NotACompletion(f"the body is not JSON: {error}", request=response.request) from error
    try:
        choice = body["choices"][0]
        text = text_of(choice["message"].get("content"))
        finish_reason = choice.get("finish_reason")
        # Local servers leave `usage` out, or send null or zeros.
        usage = body.get("usage") or {}
        tokens = usage.get("total_tokens") or estimate_tokens(response.request, text)
    except (AttributeError, LookupError, TypeError) as error:
        raise NotACompletion("the reply has no choices", request=response.request) from error
    return Completion(text, finish_reason, tokens)


def text_of(content: Any) -> str:
    """Return the text of a message; `reasoning_content`, which some servers send beside it, is not part of it.

    Raises:
        LookupError, TypeError: if the content is neither text nor a list of parts.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    # Some servers send a list of parts, and a model's thoughts are parts as well.
    return "".join(part["text"] for part in content if part["type"] == "text")


def estimate_tokens(request: httpx2.Request, reply: str) -> int:
    """Estimate the tokens of a request and its reply."""
    messages = json.loads(request.content)["messages"]
    characters = sum(len(message["content"]) for message in messages)
    return (characters + len(reply)) // CHARACTERS_PER_TOKEN
