"""Rows through a language model, several at a time, answers in the order of the rows."""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from trainer_ext.data.io.readers import Row
from trainer_ext.data.llm.answers import Answer, BadReply, parse, printable
from trainer_ext.data.llm.cache import Cache, request_key
from trainer_ext.data.llm.client import BudgetSpent, Client, NoAnswer
from trainer_ext.data.llm.prompt import Prompt

AHEAD = 4  # requests that wait for a thread, for each thread
LOCKS = 256


@dataclass(frozen=True)
class Outcome:
    """What became of a row: an `answer`, or a `problem`, or neither where the budget did not reach."""

    number: int
    row: Row
    answer: Answer | None = None
    problem: str | None = None
    reply: str | None = None


@dataclass
class Asker:
    """Asks for rows, through the cache."""

    client: Client
    cache: Cache
    prompt: Prompt
    schema: type[Answer]
    counts: Counter = field(default_factory=Counter)

    def __post_init__(self):
        # Equal rows have equal requests: the second waits for the first, and finds its reply in the cache.
        self.locks = [threading.Lock() for _ in range(LOCKS)]
        self.parameters = {**self.client.parameters, "schema": self.schema.model_json_schema()}

    def outcomes(self, rows: Iterable[tuple[int, Row]], concurrency: int) -> Iterator[Outcome]:
        """What became of each row, in order; memory does not grow with the rows.

        Raises:
            UserError: what `Client.ask` and `Prompt.messages` raise.
        """
        waiting: deque[Future] = deque()
        with ThreadPoolExecutor(concurrency) as threads:
            try:
                for number, row in rows:
                    waiting.append(threads.submit(self.outcome, number, row))
                    if len(waiting) > AHEAD * concurrency:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                if waiting:  # something was raised: no more requests
                    self.client.stopped.set()
                    threads.shutdown(cancel_futures=True)

    def outcome(self, number: int, row: Row) -> Outcome:
        """What became of one row."""
        messages = self.prompt.messages(row)
        key = request_key({"messages": messages, **self.parameters})
        with self.locks[int(key[:4], 16) % LOCKS]:
            reply = self.cache.get(key)
            try:
                outcome = Outcome(number, row, answer=parse(reply or "", self.schema), reply=reply)
                self.counts["cached"] += 1
            except BadReply:  # also one of an older version, which took more for an answer
                outcome = self.ask(number, row, messages)
                if outcome.answer is not None:
                    self.cache.put(key, outcome.reply)
        return outcome

    def ask(self, number: int, row: Row, messages: list[dict[str, str]]) -> Outcome:
        """What becomes of one row whose answer is not in the cache."""
        reply = None
        try:
            reply = self.client.ask(messages, self.schema)
            return Outcome(number, row, answer=parse(reply, self.schema), reply=reply)
        except BudgetSpent:
            return Outcome(number, row)
        except NoAnswer as error:
            self.counts["no answer"] += 1
            return Outcome(number, row, problem=f"no answer: {error}")
        except BadReply as error:
            self.counts["no valid answer"] += 1
            said = None if reply is None else printable(reply)
            return Outcome(
                number, row, problem=f"no valid answer: {printable(str(error))}", reply=said
            )


def rejected(outcome: Outcome, reason: str) -> dict[str, Any]:
    """A line of the file of rejected rows: the row's number, why, what the model said, and the row."""
    return {
        "row": outcome.number,
        "reason": reason,
        "reply": outcome.reply,
        "values": outcome.row.values,
    }
