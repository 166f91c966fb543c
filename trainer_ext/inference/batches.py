"""Which texts are run together, and runs shared out among threads."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def group_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Group row numbers into runs of at most `size` rows of similar length, so that little is padded.

    The longest come first: parallel runs then end at about the same time.
    """
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    groups = []
    for start in range(0, len(by_length), size):
        groups.append(by_length[start : start + size])
    return groups


def share_out(work: Callable[[Job], Result], jobs: Sequence[Job], threads: int) -> list[Result]:
    """Return the result of each job, in order, from several threads; the caller is one of them.

    Args:
        work: releases the GIL for most of its time.
        jobs: each thread takes the next one when it is done with the last, so that none waits for another.
        threads: at most.
    """
    results: dict[int, Result] = {}
    # Shared by the threads: taking the next one is a single step of the interpreter.
    numbers = iter(range(len(jobs)))

    def take_jobs() -> None:
        try:
            for number in numbers:
                results[number] = work(jobs[number])
        finally:
            # After an error, or Ctrl-C, the others end with the job that they are at.
            for _ in numbers:
                pass

    others = min(threads, len(jobs)) - 1
    if others <= 0:
        take_jobs()
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(others) as pool:
            running = [pool.submit(take_jobs) for _ in range(others)]
            take_jobs()
            for future in running:
                future.result()
    return [results[number] for number in range(len(jobs))]
