"""Ask a language model about rows, several at a time; answers come in the order of the rows."""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from trainer_ext.data.io.readers import Row
from trainer_ext.data.llm.answers import Answer, BadReply, parse, printable
from trainer_ext.data.llm.cache import Cache, request_key
from trainer_ext.data.llm.client import BudgetSpent, Client, NoAnswer
from trainer_ext.data.llm.prompt import Message, Prompt

# Rows that wait for a thread, for each thread: enough to keep all of them busy while the first row is slow.
AHEAD = 4
# One lock for each key would grow with the rows; two keys that share one wait for each other now and then.
LOCKS = 256


@dataclass(frozen=True)
class Outcome:
    """What became of a row: an `answer`, or a `problem`, or neither if the budget did not reach it.

    Attributes:
        number: the row's number, from 1.
        reply: what the model wrote, if it wrote anything.
    """

    number: int
    row: Row
    answer: Answer | None = None
    problem: str | None = None
    reply: str | None = None


@dataclass
class Asker:
    """Ask for rows, through the cache."""

    client: Client
    cache: Cache
    prompt: Prompt
    schema: type[Answer]
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # Equal rows have equal requests: the second waits for the first, and finds its reply in the cache.
        self.locks = [threading.Lock() for _ in range(LOCKS)]
        self.parameters = {**self.client.parameters, "schema": self.schema.model_json_schema()}

    def outcomes(self, rows: Iterable[tuple[int, Row]], concurrency: int) -> Iterator[Outcome]:
        """Yield what became of each row, in order; memory does not grow with the rows.

        Raises:
            UserError: see `Client.ask` and `Prompt.messages`.
        """
        waiting: deque[Future[Outcome]] = deque()
        with ThreadPoolExecutor(concurrency) as threads:
            try:
                for number, row in rows:
                    waiting.append(threads.submit(self.outcome, number, row))
                    if len(waiting) > AHEAD * concurrency:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                # Something was raised: without this, leaving the block would wait for every request in the queue.
                if waiting:
                    self.client.stopped.set()
                    threads.shutdown(cancel_futures=True)

    def outcome(self, number: int, row: Row) -> Outcome:
        """Return what became of one row."""
        messages = self.prompt.messages(row)
        key = request_key({"messages": messages, **self.parameters})
        with self.locks[int(key[:4], 16) % LOCKS]:
            reply = self.cache.get(key)
            if reply is not None:
                # An older version may have kept what is not a valid answer any more: it is asked for again.
                with suppress(BadReply):
                    answer = parse(reply, self.schema)
                    self.counts["cached"] += 1
                    return Outcome(number, row, answer=answer, reply=reply)
            outcome = self.ask(number, row, messages)
            if outcome.answer is not None and outcome.reply is not None:
                self.cache.put(key, outcome.reply)
        return outcome

    def ask(self, number: int, row: Row, messages: list[Message]) -> Outcome:
        """Return what becomes of one row whose answer is not in the cache."""
        reply: str | None = None
        try:
            reply = self.client.ask(messages, self.schema)
            answer = parse(reply, self.schema)
        except BudgetSpent:
            return Outcome(number, row)
        except NoAnswer as error:
            self.counts["no answer"] += 1
            return Outcome(number, row, problem=f"no answer: {error}")
        except BadReply as error:
            self.counts["no valid answer"] += 1
            problem = f"no valid answer: {printable(str(error))}"
            shown = None if reply is None else printable(reply)
            return Outcome(number, row, problem=problem, reply=shown)
        return Outcome(number, row, answer=answer, reply=reply)


def rejected(outcome: Outcome, reason: str) -> dict[str, Any]:
    """Return a line of the file of rejected rows: the row's number, why, the reply, and the row."""
    return {
        "row": outcome.number,
        "reason": reason,
        "reply": outcome.reply,
        "values": outcome.row.values,
    }
