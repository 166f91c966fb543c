"""Processes of one run: what one of a launch (`torchrun`) does alone, or first, and children that end with a parent."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from typing import TypeVar

import torch.distributed as dist

from trainer_ext.errors import RunError, UserError, explain

Result = TypeVar("Result")
PARENT = "TRAINER_EXT_PARENT"  # process id of the run that trains this fold or seed
LOOK_AGAIN = 1.0  # seconds


def process_count() -> int:
    """How many processes train together; 1 outside a launcher."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def on_main(work: Callable[[], Result]) -> Result:
    """Let the main process do what must be done once, and give all processes its result.

    Raises:
        UserError: on every process what the main process raised.
    """
    if process_count() == 1:
        return work()
    result = [together(work, takes_part=dist.get_rank() == 0)]
    dist.broadcast_object_list(result, src=0)
    return result[0]


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

    The others are quiet: the first has said it all.

    Raises:
        UserError: on every process what any of them raised.
    """
    if process_count() == 1:
        return work()
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    result = together(work, takes_part=is_first)
    with nullcontext() if is_first else quiet():
        later = together(work, takes_part=not is_first)
    return result if is_first else later


def together(work: Callable[[], Result], takes_part: bool) -> Result | None:
    """Run `work` where `takes_part`, wait for all processes, and end all of them when one failed.

    A process that raised by itself would leave the others waiting for it.
    """
    result = error = None
    if takes_part:
        try:
            result = work()
        except Exception as caught:
            error = caught
    errors = [None] * process_count()
    dist.all_gather_object(errors, as_user_error(error))
    if failed := [error for error in errors if error is not None]:
        raise failed[0] from error
    return result


def as_user_error(error: Exception | None) -> UserError | None:
    """What the other processes are told of an error."""
    if error is None or isinstance(error, UserError):
        return error
    message, status = explain(error)
    return (UserError if status == UserError.status else RunError)(message)


@contextmanager
def only_main_speaks() -> Iterator[None]:
    """Keep the other processes from printing what the main process prints as well."""
    with quiet() if process_count() > 1 and dist.get_rank() else nullcontext():
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Print nothing."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        yield


def end_with_parent() -> None:
    """In a process that `child_environment` describes: end when the parent has, however it did (a kill is not told)."""
    parent = os.environ.pop(PARENT, None)  # processes that this one starts have another

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(LOOK_AGAIN)
        os.kill(os.getpid(), signal.SIGTERM)

    if parent:
        threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
