"""A bounded queue of texts in front of one model, and the threads that answer from it.

Each thread takes its share of what waits, tokenises it together and runs texts of similar length together. Nobody waits
for a batch to fill up: under load the queue fills it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Condition, Thread
from time import perf_counter
from typing import Any, NamedTuple

from trainer_ext.errors import RunError, UserError
from trainer_ext.inference import Predictor
from trainer_ext.serving.errors import RequestError, invalid, overloaded
from trainer_ext.serving.limits import Limits
from trainer_ext.serving.metrics import Metrics

logger = logging.getLogger(__name__)


class Closed(Exception):
    """The model was replaced: its successor takes the job."""


@dataclass
class Times:
    """Seconds that a job spent in each stage; those of a batch count for each job in it."""

    queue: float = 0.0
    tokenization: float = 0.0
    inference: float = 0.0


@dataclass(eq=False)
class Job:
    """The texts of one request.

    Attributes:
        items: prepared texts.
        form: makes an answer of an item and its output.
        future: of the event loop of the request: the answers in order, or a `RequestError`.
        answers: so far.
        tokens: of all texts, as the (first) model read them.
    """

    items: Sequence[Any]
    form: Callable[[Any, Any], Any]
    future: "asyncio.Future[list[Any]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    answers: list[Any] = field(init=False)
    left: int = field(init=False)
    error: RequestError | None = None
    tokens: int = 0
    times: Times = field(default_factory=Times)
    arrived: float = field(default_factory=perf_counter)

    def __post_init__(self) -> None:
        self.answers = [None] * len(self.items)
        self.left = len(self.items)

    def finish(self) -> None:
        """Hand over the answers, or the error, in the event loop."""
        # The client may have gone, or the time may be up.
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answers)


class Entry(NamedTuple):
    """One text that waits."""

    job: Job
    number: int

    @property
    def item(self) -> Any:
        """The prepared text."""
        return self.job.items[self.number]


class Batcher:
    """Answer the jobs of one model.

    Args:
        name: of the model, for the metrics.
        predictor: with all its models in memory; its callers become this object's threads.
        limits: of the server.
        metrics: of the server.
    """

    def __init__(self, name: str, predictor: Predictor, limits: Limits, metrics: Metrics):
        self.name = name
        self.predictor = predictor
        self.limits = limits
        self.metrics = metrics
        self._entries: deque[Entry] = deque()
        self._gauge = metrics.waiting.labels(name)
        self._change = Condition()
        self._is_closing = False
        self.callers = 1
        self.rows = limits.rows
        for single in predictor.singles:
            session = single.session
            self.callers = max(self.callers, session.parallel_runs)
            # Each of the threads below is one of the session's callers.
            session.parallel_runs = 1
            single.batch_size = limits.rows
            if not session.batch_invariant:
                # Runs are shared out, never shared: a long turn would let the other threads' texts wait.
                self.rows = 1
        self._threads = []
        for number in range(self.callers):
            thread = Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def is_alive(self) -> bool:
        """Tell whether every thread is there."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def waiting(self) -> int:
        """Return how many texts wait."""
        return len(self._entries)

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises:
            RequestError: if the queue has no room for all its texts.
            Closed: if the model was replaced.
        """
        with self._change:
            if self._is_closing:
                raise Closed
            if len(self._entries) + len(job.items) > self.limits.queue:
                raise overloaded(f"{len(self._entries)} texts are waiting; try again")
            self._entries.extend(Entry(job, number) for number in range(len(job.items)))
            self._gauge.set(len(self._entries))
            self._change.notify(len(job.items))

    def cancel(self, job: Job) -> None:
        """Give the places of a job to others; what is running already is run to its end."""
        with self._change:
            self._entries = deque(entry for entry in self._entries if entry.job is not job)
            self._gauge.set(len(self._entries))

    def close(self) -> None:
        """Answer what was accepted, then end the threads."""
        with self._change:
            self._is_closing = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    # --- the threads --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while entries := self._take():
            try:
                self._answer(entries)
            except Exception:  # a thread that ended would leave its share of the cores idle
                logger.exception("%s: a batch failed", self.name)
                self._fail(entries, RequestError(500, "Backend", "the server failed"))

    def _take(self) -> list[Entry]:
        """Wait for texts, and take a share of them; none: the queue is closed and empty."""
        with self._change:
            while not self._entries and not self._is_closing:
                self._change.wait()
            share = -(-len(self._entries) // self.callers)
            taken = [self._entries.popleft() for _ in range(min(share, self.rows))]
            self._gauge.set(len(self._entries))
        now = perf_counter()
        for entry in taken:
            times = entry.job.times
            times.queue = max(times.queue, now - entry.job.arrived)
        return taken

    def _answer(self, entries: Sequence[Entry]) -> None:
        """Tokenise texts, then run them, those of similar length together."""
        started = perf_counter()
        items = [entry.item for entry in entries]
        try:
            encodings = [single.encode(items) for single in self.predictor.singles]
        except Exception as error:
            self._isolate(entries, error)
            return
        seconds = perf_counter() - started
        lengths = [len(encoding.ids) for encoding in encodings[0]]
        self._note(entries, "tokenization", seconds)
        for rows in token_batches(lengths, self.limits.tokens):
            chosen = [entries[row] for row in rows]
            parts = [[of_single[row] for row in rows] for of_single in encodings]
            self._run(chosen, parts, [lengths[row] for row in rows])

    def _run(self, entries: Sequence[Entry], encodings: Sequence[Any], lengths: list[int]) -> None:
        """Run texts together and hand their answers over.

        Args:
            entries: the texts.
            encodings: of each model, those of the texts.
            lengths: in tokens.
        """
        started = perf_counter()
        items = [entry.item for entry in entries]
        by_single = []
        answers = []
        try:
            for single, parts in zip(self.predictor.singles, encodings, strict=True):
                by_single.append(single.outputs_of(items, parts))
            outputs = self.predictor.join(by_single)
            for entry, output in zip(entries, outputs, strict=True):
                answers.append(entry.job.form(entry.item, output))
        except Exception as error:
            self._isolate(entries, error)
            return
        self._note(entries, "inference", perf_counter() - started)
        self.metrics.batch(self.name, len(entries), sum(lengths))
        with self._change:
            for entry, answer, length in zip(entries, answers, lengths, strict=True):
                entry.job.answers[entry.number] = answer
                entry.job.tokens += length
        self._count_down(entries)

    def _isolate(self, entries: Sequence[Entry], error: Exception) -> None:
        """Answer texts one by one after they failed together, so that only those fail that have to."""
        if len(entries) > 1:
            for entry in entries:
                self._answer([entry])
            return
        self._fail(entries, self._explain(entries[0], error))

    def _explain(self, entry: Entry, error: Exception) -> RequestError:
        """Return what the client is told about a text that cannot be answered."""
        if isinstance(error, UserError) and not isinstance(error, RunError):
            return invalid(f"text {entry.number}", str(error))
        # Whatever a library says may quote the text.
        logger.error("%s: a text failed: %s", self.name, type(error).__name__)
        logger.debug("%s: its traceback", self.name, exc_info=error)
        reason = str(error) if isinstance(error, RunError) else "the model failed on this text"
        return RequestError(500, "Backend", f"text {entry.number}: {reason}")

    def _fail(self, entries: Sequence[Entry], error: RequestError) -> None:
        for entry in entries:
            entry.job.error = error
        self._count_down(entries)

    def _count_down(self, entries: Sequence[Entry]) -> None:
        """Finish the jobs whose last texts these are."""
        finished = []
        with self._change:
            for job, _ in entries:
                job.left -= 1
                if not job.left:
                    finished.append(job)
        if finished:
            # A process has one event loop, and it wakes up once for all of them.
            loop = finished[0].future.get_loop()
            loop.call_soon_threadsafe(partial(finish_all, finished))

    def _note(self, entries: Sequence[Entry], stage: str, seconds: float) -> None:
        """Add the seconds of a stage to every job that took part in it."""
        with self._change:
            for job in {entry.job for entry in entries}:
                setattr(job.times, stage, getattr(job.times, stage) + seconds)


def finish_all(jobs: Iterable[Job]) -> None:
    """Finish jobs, in the event loop."""
    for job in jobs:
        job.finish()


def token_batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Group row numbers by length into batches of at most `most` tokens, padding included; a longer row is alone."""
    batches: list[list[int]] = []
    batch: list[int] = []
    # Longest first: a batch is as wide as its first row.
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most:
            batches.append(batch)
            batch = []
        batch.append(row)
    if batch:
        batches.append(batch)
    return batches
