"""Coordinate the processes of one launch: work of the main one alone, or of the main one first."""

import os
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from typing import TypeVar, cast

import torch.distributed as dist

from trainer_ext.errors import RunError, UserError, explain

Result = TypeVar("Result")


def process_count() -> int:
    """Return how many processes train together; 1 outside a launcher."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def on_main(work: Callable[[], Result]) -> Result:
    """Let the main process do what must be done once; return its result in all processes.

    Raises:
        UserError: on every process what the main process raised.
    """
    if process_count() == 1:
        return work()
    results = [together(work, takes_part=dist.get_rank() == 0)]
    dist.broadcast_object_list(results, src=0)
    return cast(Result, results[0])


@contextmanager
def entered_by_main(manager: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """Let the main process hold something (a lock) while all work."""
    with ExitStack() as stack:

        def enter() -> None:
            stack.enter_context(manager())

        on_main(enter)
        yield


def main_first(work: Callable[[], Result]) -> Result:
    """Let every process do the same, the first of each machine before the others: they find its downloads and caches.

    The others are quiet, because the first has printed and logged it all.

    Raises:
        UserError: on every process what any of them raised.
    """
    if process_count() == 1:
        return work()
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    result = together(work, takes_part=is_first)
    if is_first:
        together(work, takes_part=False)
    else:
        with quiet():
            result = together(work, takes_part=True)
    return cast(Result, result)


def together(work: Callable[[], Result], takes_part: bool) -> Result | None:
    """Run `work` if this process takes part, wait for all processes, and raise in all of them if one failed.

    A process that raised by itself would leave the others waiting for it.
    """
    result = None
    error: Exception | None = None
    if takes_part:
        try:
            result = work()
        except Exception as caught:
            error = caught
    # Also a process that did nothing: it is here that each waits for the others.
    errors: list[UserError | None] = [None] * process_count()
    dist.all_gather_object(errors, as_user_error(error))
    for failure in errors:
        if failure is not None:
            raise failure from error
    return result


def as_user_error(error: Exception | None) -> UserError | None:
    """Return what the other processes raise for an error: not every exception can be pickled."""
    if error is None or isinstance(error, UserError):
        return error
    message, status = explain(error)
    if status == UserError.status:
        return UserError(message)
    return RunError(message)


@contextmanager
def only_main_speaks() -> Iterator[None]:
    """Keep the other processes from printing what the main process prints as well."""
    is_main = process_count() == 1 or dist.get_rank() == 0
    with nullcontext() if is_main else quiet():
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Print and log nothing."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        yield
