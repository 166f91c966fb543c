"""From a request to its answer: read, check, queue, wait."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request

from trainer_ext.serving.answers import Question
from trainer_ext.serving.batching import Closed, Job
from trainer_ext.serving.body import read_body
from trainer_ext.serving.door import VISIT, Receive, Visit
from trainer_ext.serving.errors import RequestError, overloaded, timed_out
from trainer_ext.serving.limits import Limits
from trainer_ext.serving.metrics import Metrics
from trainer_ext.serving.model import Models, ServedModel

# From a checked body and the model that it names.
Ask = Callable[[Any, ServedModel], Question]


@dataclass
class Service:
    """What the routes share.

    Attributes:
        models: by name.
        limits: of the server.
        metrics: of the server.
        is_stopping: whether no more requests are wanted; those accepted are answered.
        in_hand: requests that are read, wait or are answered.
    """

    models: Models
    limits: Limits
    metrics: Metrics
    is_stopping: bool = False
    in_hand: int = 0

    async def answer(self, request: Request, parse: Callable[[bytes], Any], ask: Ask) -> Any:
        """Return the content of the response to a request.

        Args:
            request: whose body is not read yet.
            parse: checks the body.
            ask: makes the question.

        Raises:
            RequestError: if the request is wrong, too large or late, or the server is full.
            ClientDisconnect: if the client went away.
        """
        if self.in_hand >= self.limits.requests:
            raise overloaded(f"{self.in_hand} requests are in hand; try again")
        self.in_hand += 1
        visit: Visit = request.scope[VISIT]
        try:
            with anyio.fail_after(self.limits.seconds):
                raw = await read_body(request, self.limits.body)
                body = parse(raw)
                model, question, job = self._submit(body, ask, visit)
                answers = await wait_for(job, model, request.receive)
        except TimeoutError:
            raise timed_out(self.limits.seconds) from None
        finally:
            self.in_hand -= 1
        return question.finish(answers)

    def _submit(self, body: Any, ask: Ask, visit: Visit) -> tuple[ServedModel, Question, Job]:
        """Let a request's texts wait for the model that it names."""
        while True:
            model = self.find(body.model)
            visit.model = model.name
            question = ask(body, model)
            job = Job(question.prepare(model, self.limits), question.form)
            try:
                model.batcher.submit(job)
            except Closed:
                # It was replaced after it was looked up: its successor is there.
                continue
            visit.job = job
            visit.texts = list(question.texts)
            return model, question, job

    def find(self, name: str | None) -> ServedModel:
        """Return the model of a name, or the first; `RequestError` if there is none of that name."""
        if name is None:
            return self.models.first
        if name not in self.models:
            known = ", ".join(self.models)
            reason = f"there is no such model; there is {known}"
            raise RequestError(404, "ModelNotFound", reason, [("model", reason)])
        return self.models[name]


async def wait_for(job: Job, model: ServedModel, receive: Receive) -> list[Any]:
    """Return the answers of a job; if the client goes away, or the time is up, its places are free again.

    Raises:
        ClientDisconnect: if the client went away.
    """
    watcher = asyncio.ensure_future(cancel_when_gone(receive, job))
    try:
        return await job.future
    except asyncio.CancelledError:
        model.batcher.cancel(job)
        if watcher.done():
            raise ClientDisconnect from None
        raise
    finally:
        watcher.cancel()


async def cancel_when_gone(receive: Receive, job: Job) -> None:
    """Wait until the client goes away, then cancel its job."""
    while (await receive())["type"] != "http.disconnect":
        pass
    job.future.cancel()
