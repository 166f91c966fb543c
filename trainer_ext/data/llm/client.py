"""One chat request after the other to an OpenAI-compatible endpoint, until the answer is valid or the tries are used
up.

The `openai` client sends; retrying is done here, because a reply that is no valid answer is retried as well, and
because every request counts against the budget. Retried: 408, 409, 429, 5xx, timeouts, cut connections, replies
against the schema (the model is told what was wrong). `Retry-After` is honoured; else the wait doubles from try to
try.

The key comes from OPENAI_API_KEY and goes into the request's header alone.
"""

import os
import random
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from trainer_ext.data.llm.answers import Answer, BadReply, parse, printable
from trainer_ext.errors import UserError
from trainer_ext.redaction import HIDDEN, SHORTEST

RETRIED = (408, 409, 429)
FATAL = (401, 403, 404)
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 600.0
FAILURES_IN_A_ROW = 10
LONGEST_ECHO = (
    2000  # characters of a bad reply that the model is shown again; thoughts may be much longer
)
CUT = (
    "length",
    "model_length",
    "max_tokens",
    "content_filter",
)  # `finish_reason` of a reply that is not whole
CHARACTERS_PER_TOKEN = 3  # an estimate, for servers that do not count


class BudgetSpent(Exception):
    """No request may be sent any more."""


class NoAnswer(Exception):
    """The server gave no reply to a request; the message says why."""


class CutOff(BadReply):
    """The server cut a reply off, whatever it holds by then."""


@dataclass
class Budget:
    """Counts requests and tokens over all threads; None: no limit. Tokens are known afterwards: requests under way may
    take the sum beyond the limit."""

    max_requests: int | None = None
    max_tokens: int | None = None
    requests: int = 0
    tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> None:
        """Count a request before it is sent, or raise `BudgetSpent`."""
        with self.lock:
            if self.max_requests is not None and self.requests >= self.max_requests:
                raise BudgetSpent
            if self.max_tokens is not None and self.tokens >= self.max_tokens:
                raise BudgetSpent
            self.requests += 1

    def add(self, tokens: int) -> None:
        """Count the tokens of a reply."""
        with self.lock:
            self.tokens += tokens


class Client:
    """Asks one endpoint; may be used from several threads.

    Args:
        base_url: e.g. `http://localhost:8000/v1`.
        parameters: `model`, and what else goes into every request (`temperature`, `max_tokens`).
        budget: what may be sent.
        timeout: seconds without a sign of life after which a request is given up.
        max_retries: how often a request is repeated.
        retry_wait: seconds before the first repetition.
    """

    def __init__(
        self,
        base_url: str,
        parameters: dict[str, Any],
        budget: Budget,
        timeout: float = 60.0,
        max_retries: int = 5,
        retry_wait: float = 1.0,
    ):
        import openai

        self.openai, self.base_url, self.parameters, self.budget = (
            openai,
            base_url,
            parameters,
            budget,
        )
        self.max_retries, self.retry_wait = max_retries, retry_wait
        self.key = (
            os.environ.get("OPENAI_API_KEY", "").strip() or "none"
        )  # local servers want a header, whatever it says
        self.client = openai.OpenAI(
            base_url=base_url, api_key=self.key, timeout=timeout, max_retries=0
        )
        self.formats = [
            "json_schema",
            "json_object",
            "none",
        ]  # those the server was not seen to refuse, best first
        self.failures = 0
        self.stopped = threading.Event()
        self.lock = threading.Lock()

    def ask(self, messages: list[dict[str, str]], schema: type[Answer]) -> str:
        """The reply to a chat. It follows `schema`, unless no try gave one that does.

        Raises:
            NoAnswer: when the server gave no reply at all.
            CutOff: when it did not let the model finish.
            BudgetSpent: when a request would go beyond the budget.
            UserError: when it makes no sense to ask on: a wrong key, model or address, or ten rows in a row without
            reply.
        """
        chat, reply, problem, cut = messages, None, "", None
        for attempt in range(self.max_retries + 1):
            wait, cut = 0.0, None
            try:
                reply, finish_reason = self.send(chat, schema)
                if finish_reason in CUT:
                    cut = CutOff(
                        f"the reply was cut off (finish_reason {finish_reason!r}); --max_tokens allows longer ones"
                    )
                    raise cut
                parse(reply, schema)
                break
            except BadReply as error:
                complaint = printable(
                    f"This is no valid answer ({error}). Answer again, with the JSON object alone."
                )
                said = printable(reply)[:LONGEST_ECHO]
                chat = [
                    *messages,
                    {"role": "assistant", "content": said},
                    {"role": "user", "content": complaint},
                ]
            except self.openai.APIError as error:
                reply, problem = None, self.describe(error)
                self.check_fatal(error, problem)
                if not is_transient(error):
                    break
                wait = self.wait_for(error, attempt)
            if attempt < self.max_retries and self.stopped.wait(wait):
                raise BudgetSpent
        self.count_failure(reply is None, problem)
        if reply is None:
            raise NoAnswer(problem)
        if cut:
            raise cut
        return reply

    def send(self, messages: list[dict[str, str]], schema: type[Answer]) -> tuple[str, str | None]:
        """One reply, and why it ended; in the strictest form the server takes.

        400 and 422 are tried again with a looser one.
        """
        for name in list(self.formats):
            if self.stopped.is_set():
                raise BudgetSpent
            self.budget.take()
            try:
                completion = self.client.chat.completions.create(
                    messages=messages, **self.parameters, **response_format(name, schema)
                )
            except (self.openai.BadRequestError, self.openai.UnprocessableEntityError):
                if name == "none":
                    raise
                continue
            except ValueError as error:  # a body that is no JSON: cut, or not from such a server
                self.budget.add(estimate(messages, ""))
                raise self.openai.APIError(
                    f"the body is not JSON: {error}", None, body=None
                ) from error
            with self.lock:
                self.formats = (
                    self.formats[self.formats.index(name) :]
                    if name in self.formats
                    else self.formats
                )
            return self.content(completion, messages)
        raise AssertionError("the last format raises")

    def content(self, completion: Any, messages: list[dict[str, str]]) -> tuple[str, str | None]:
        """The text of a completion (what a server gives as `reasoning_content` is none) and why it ended; counts its
        tokens."""
        try:
            choice = completion.choices[0]
            reply, finish_reason = (
                self.without_key(text_of(choice.message.content)),
                choice.finish_reason,
            )
        except (AttributeError, IndexError, KeyError, TypeError):
            self.budget.add(estimate(messages, ""))
            raise self.openai.APIError("the reply has no choices", None, body=None) from None
        usage = getattr(completion, "usage", None)
        self.budget.add(getattr(usage, "total_tokens", None) or estimate(messages, reply))
        return reply, finish_reason

    def check_fatal(self, error: Exception, problem: str) -> None:
        """Raise `UserError` for what no repetition and no other row can change."""
        if getattr(error, "status_code", None) in FATAL:
            raise UserError(
                f"{self.base_url} refuses model {self.parameters['model']!r}: {problem}"
            ) from None

    def count_failure(self, failed: bool, problem: str) -> None:
        """Raise `UserError` when many rows in a row got no reply: the server is gone."""
        with self.lock:
            self.failures = self.failures + 1 if failed else 0
            if self.failures < FAILURES_IN_A_ROW:
                return
        raise UserError(
            f"{self.base_url} gave no reply to {FAILURES_IN_A_ROW} rows in a row; the last: {problem}. Answers so far "
            "are in the cache: the same command goes on"
        )

    def wait_for(self, error: Exception, attempt: int) -> float:
        """Seconds until the next try: what the server asks for, else doubling, with chance so that threads spread."""
        response = getattr(error, "response", None)
        asked = retry_after(response.headers.get("retry-after")) if response is not None else None
        if asked is not None:
            return min(asked, LONGEST_RETRY_AFTER)
        return min(self.retry_wait * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)

    def without_key(self, text: str) -> str:
        """A text of a server, which may repeat the key, as it may be shown and kept; `EMPTY` is no secret."""
        return text.replace(self.key, HIDDEN) if len(self.key) >= SHORTEST else text

    def describe(self, error: Exception) -> str:
        """An error in one line, without the key."""
        status = getattr(error, "status_code", None)
        text = self.without_key(" ".join(str(error).split()))[:300] or type(error).__name__
        return text if status is None or str(status) in text else f"HTTP {status}: {text}"


def text_of(content: Any) -> str:
    """The text of a message; some servers send a list of parts, of which thoughts are one."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return (content or "") + ""


def response_format(name: str, schema: type[Answer]) -> dict[str, Any]:
    """The request's `response_format`, by name."""
    if name == "none":
        return {}
    if name == "json_object":
        return {"response_format": {"type": "json_object"}}
    described = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    status = getattr(error, "status_code", None)
    return status is None or status in RETRIED or status >= 500


def retry_after(header: str | None) -> float | None:
    """Seconds from a `Retry-After` header: a number, or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def estimate(messages: list[dict[str, str]], reply: str) -> int:
    """Tokens of a request and its reply, where the server does not say."""
    return (
        sum(len(message["content"]) for message in messages) + len(reply)
    ) // CHARACTERS_PER_TOKEN
