"""Several processes of one run (`torchrun`, `accelerate launch`): what one does alone, or first; an error ends all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import TypeVar

import torch.distributed as dist

from trainer_ext.errors import RunError, UserError, explain

Result = TypeVar("Result")


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
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
