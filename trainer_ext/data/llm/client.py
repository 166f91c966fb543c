"""Ask an OpenAI-compatible endpoint until its reply is a valid answer or the tries are used up.

The `openai` client sends the requests, and repeats those that got no reply: 408, 409, 429, 5xx, timeouts, cut
connections. Hooks of its HTTP client count every request, repetitions included, against the budget. A reply that breaks
the schema is asked for again here, and the model is told what was wrong.

The key comes from OPENAI_API_KEY and goes into the request's header alone.
"""

import os
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, cast

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam

from trainer_ext.data.llm.answers import Answer, BadReply, parse, printable
from trainer_ext.data.llm.completion import (
    Completion,
    NotACompletion,
    estimate_tokens,
    read_completion,
)
from trainer_ext.data.llm.prompt import Message
from trainer_ext.errors import UserError
from trainer_ext.redaction import HIDDEN, SHORTEST

# Status codes that no repetition and no other row can change: a wrong key, model or address.
FATAL = (401, 403, 404)
TRANSIENT = (408, 409, 429)
LONGEST_WAIT = 60.0
# Of what a server asks for: with a day nobody would notice that the job stands still.
LONGEST_RETRY_AFTER = 600.0
FAILURES_IN_A_ROW = 10
LONGEST_ERROR = 300
# Characters of a bad reply that the model is shown again; its thoughts may be much longer.
LONGEST_ECHO = 2000
# `finish_reason` of a reply that the server did not let the model finish.
CUT = ("length", "model_length", "max_tokens", "content_filter")

ResponseFormat = Literal["json_schema", "json_object", "none"]
STRICTEST_FIRST: tuple[ResponseFormat, ...] = ("json_schema", "json_object", "none")


class Parameters(TypedDict, total=False):
    """What goes into every request beside the messages; all of it decides the answer."""

    model: str
    temperature: float
    max_tokens: int


class BudgetSpent(Exception):
    """No request may be sent any more."""


class NoAnswer(Exception):
    """The server gave no reply to a request; the message says why."""


class CutOff(BadReply):
    """The server cut a reply off, whatever it holds by then."""


@dataclass
class Budget:
    """Count requests and tokens over all threads; None means no limit.

    Tokens are known afterwards, so requests that are under way may take the sum beyond the limit.
    """

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
        """Count the tokens of a request and its reply."""
        with self.lock:
            self.tokens += tokens


class RepeatingClient(openai.OpenAI):
    """The `openai` client with the waits of `--retry_wait`, which it has no option for.

    By itself it waits 0.5 s, doubling up to 8 s, and gives up when Retry-After asks for more than two minutes.

    Args:
        retry_wait: seconds before the first repetition, doubled before each further one.
        stopped: ends a wait, and the request with it.
        options: of `openai.OpenAI`.
    """

    def __init__(self, retry_wait: float, stopped: threading.Event, **options: Any):
        super().__init__(**options)
        self.retry_wait = retry_wait
        self.stopped = stopped

    def _should_retry(self, response: httpx2.Response) -> bool:
        # Whatever Retry-After says: quotas that refill after five minutes are common, and jobs run overnight.
        return response.status_code in TRANSIENT or response.status_code >= 500

    def _sleep_for_retry(
        self,
        *,
        retries_taken: int,
        max_retries: int,
        options: object,
        response: httpx2.Response | None,
    ) -> None:
        """Wait before a repetition.

        Raises:
            BudgetSpent: if the job was stopped meanwhile.
        """
        headers = None if response is None else response.headers
        asked = self._parse_retry_after_header(headers)
        if asked is None:
            wait = min(self.retry_wait * 2**retries_taken, LONGEST_WAIT)
            # Threads that failed together must not come back together.
            wait *= random.uniform(0.5, 1)
        else:
            wait = max(0.0, min(asked, LONGEST_RETRY_AFTER))
        if self.stopped.wait(wait):
            raise BudgetSpent


class Client:
    """Ask one endpoint; may be used from several threads.

    Args:
        base_url: e.g. `http://localhost:8000/v1`.
        parameters: `model`, and what else goes into every request.
        budget: what may be sent.
        timeout: seconds without a sign of life after which a request is given up.
        max_retries: how often a request is repeated, and how often an invalid answer is asked for again.
        retry_wait: seconds before the first repetition.
    """

    def __init__(
        self,
        base_url: str,
        parameters: Parameters,
        budget: Budget,
        timeout: float = 60.0,
        max_retries: int = 5,
        retry_wait: float = 1.0,
    ):
        self.base_url = base_url
        self.parameters = parameters
        self.budget = budget
        self.max_retries = max_retries
        # Local servers need no key, but the client wants one.
        self.key = os.environ.get("OPENAI_API_KEY", "").strip() or "none"
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.failures = 0
        # Those that the server did not refuse so far, strictest first.
        self.formats: Sequence[ResponseFormat] = STRICTEST_FIRST
        hooks: dict[str, list[Callable[..., Any]]] = {
            "request": [self.before_request],
            "response": [self.after_response],
        }
        self.client = RepeatingClient(
            retry_wait,
            self.stopped,
            base_url=base_url,
            api_key=self.key,
            timeout=timeout,
            max_retries=max_retries,
            # Not a plain `httpx2.Client`: this one has the limits and time-outs the `openai` client counts on.
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
        )

    def ask(self, messages: list[Message], schema: type[Answer]) -> str:
        """Return the reply to a chat. It follows `schema`, unless no try gave one that does.

        Raises:
            NoAnswer: if the server gave no reply at all.
            CutOff: if it did not let the model finish.
            BudgetSpent: if a request would go beyond the budget.
            UserError: if it makes no sense to ask on: a wrong key, model or address, or ten rows in a row without
                reply.
        """
        chat = messages
        requests = 0
        while True:
            completion, repetitions = self.complete(chat, schema)
            requests += 1 + repetitions
            fault = fault_of(completion, schema)
            if fault is None or requests > self.max_retries:
                break
            # Not added to the chat so far: it would grow from try to try.
            chat = [*messages, *complaint(completion.text, fault)]
        if isinstance(fault, CutOff):
            raise fault
        return completion.text

    def complete(self, messages: list[Message], schema: type[Answer]) -> tuple[Completion, int]:
        """Return one completion, and how often its request was repeated.

        Raises:
            NoAnswer, BudgetSpent, UserError: see `ask`.
        """
        try:
            completion, repetitions = self.send(messages, schema)
        except openai.APIError as error:
            problem = self.describe(error)
            self.check_fatal(error, problem)
            self.count_failure(problem)
            raise NoAnswer(problem) from error
        with self.lock:
            self.failures = 0
        return completion, repetitions

    def send(self, messages: list[Message], schema: type[Answer]) -> tuple[Completion, int]:
        """Send a chat in the strictest response format the server takes: 400 and 422 are tried with a looser one.

        Raises:
            openai.APIError: if the server gave no reply.
            BudgetSpent: see `ask`.
        """
        *strict, loosest = self.formats
        for name in strict:
            try:
                return self.send_as(name, messages, schema)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                continue
        return self.send_as(loosest, messages, schema)

    def send_as(
        self,
        name: ResponseFormat,
        messages: list[Message],
        schema: type[Answer],
    ) -> tuple[Completion, int]:
        """Send a chat in one response format; if the server takes it, stricter ones are not tried again."""
        # Raw, because the client validates nothing: of half a completion it makes an object without attributes.
        response = self.client.chat.completions.with_raw_response.create(
            messages=cast(Iterable[ChatCompletionMessageParam], messages),
            **self.parameters,
            **response_format(name, schema),
        )
        # Not when one was refused: a request that no format helps (too long) says nothing about formats.
        with self.lock:
            if name in self.formats:
                self.formats = self.formats[self.formats.index(name) :]
        completion = read_completion(response.http_response)
        text = self.without_key(completion.text)
        return Completion(text, completion.finish_reason, completion.tokens), response.retries_taken

    def before_request(self, request: httpx2.Request) -> None:
        """Count a request, first ones and repetitions alike.

        Raises:
            BudgetSpent: if it may not be sent.
        """
        # The client repeats after errors of HTTP alone, so this one goes through to whoever asked.
        if self.stopped.is_set():
            raise BudgetSpent
        self.budget.take()

    def after_response(self, response: httpx2.Response) -> None:
        """Count the tokens of a response.

        Raises:
            NotACompletion: if it is not an answer to the request, so that the request is repeated.
        """
        if not response.is_success:
            return
        response.read()
        try:
            completion = read_completion(response)
        except NotACompletion:
            self.budget.add(estimate_tokens(response.request, ""))
            raise
        self.budget.add(completion.tokens)

    def check_fatal(self, error: openai.APIError, problem: str) -> None:
        """Raise `UserError` if no repetition and no other row can change the error."""
        if isinstance(error, openai.APIStatusError) and error.status_code in FATAL:
            model = self.parameters["model"]
            raise UserError(f"{self.base_url} refuses model {model!r}: {problem}") from None

    def count_failure(self, problem: str) -> None:
        """Raise `UserError` if many rows in a row got no reply: the server is gone."""
        # In a row over all threads: one row that a server cannot answer does not end the job.
        with self.lock:
            self.failures += 1
            if self.failures < FAILURES_IN_A_ROW:
                return
        raise UserError(
            f"{self.base_url} gave no reply to {FAILURES_IN_A_ROW} rows in a row; the last: {problem}. Answers so far "
            "are in the cache: the same command goes on"
        )

    def without_key(self, text: str) -> str:
        """Hide the key in a text of the server, which may repeat it."""
        # A short key is a placeholder of a local server (`EMPTY`), and may be a word of any answer.
        if len(self.key) < SHORTEST:
            return text
        return text.replace(self.key, HIDDEN)

    def describe(self, error: Exception) -> str:
        """Return an error in one line, without the key."""
        # The client says "Connection error." for it.
        shown = error.__cause__ if isinstance(error.__cause__, NotACompletion) else error
        line = " ".join(str(shown).split())
        # The key goes first: cut in two, it would not be found.
        text = self.without_key(line)[:LONGEST_ERROR] or type(error).__name__
        status = getattr(error, "status_code", None)
        if status is None or str(status) in text:
            return text
        return f"HTTP {status}: {text}"


def fault_of(completion: Completion, schema: type[Answer]) -> BadReply | None:
    """Return why a completion is not a valid answer, or None if it is one."""
    if completion.finish_reason in CUT:
        return CutOff(
            f"the reply was cut off (finish_reason {completion.finish_reason!r}); --max_tokens allows longer ones"
        )
    try:
        parse(completion.text, schema)
    except BadReply as error:
        return error
    return None


def complaint(reply: str, fault: BadReply) -> list[Message]:
    """Return what follows a chat when its reply was not valid: the reply, and what is wrong with it."""
    wrong = f"This is not a valid answer ({fault}). Answer again, with the JSON object alone."
    return [
        {"role": "assistant", "content": printable(reply)[:LONGEST_ECHO]},
        {"role": "user", "content": printable(wrong)},
    ]


def response_format(name: ResponseFormat, schema: type[Answer]) -> dict[str, Any]:
    """Return the request's `response_format` by name."""
    if name == "none":
        return {}
    if name == "json_object":
        return {"response_format": {"type": "json_object"}}
    described = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": described}}
