"""Texts as batches of arrays, and batches shared out among threads."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from trainer_ext.data.preprocessing.truncation import Tokens
from trainer_ext.inference.session import Arrays

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


def pad(texts: Sequence[Tokens], pad_token_id: int) -> Arrays:
    """Return int64 arrays (B, longest) by input name, padded on the right."""
    if len(texts) == 1:
        return unpadded(texts[0])
    longest = max(len(text.ids) for text in texts)
    shape = (len(texts), longest)
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    token_type_ids = np.zeros(shape, dtype=np.int64)
    for row, text in enumerate(texts):
        length = len(text.ids)
        input_ids[row, :length] = text.ids
        attention_mask[row, :length] = 1
        token_type_ids[row, :length] = text.type_ids
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": token_type_ids,
    }


def unpadded(text: Tokens) -> Arrays:
    """Return the arrays (1, L) of a single text: half the time of filling padded ones."""
    input_ids = np.array([text.ids], dtype=np.int64)
    return {
        "input_ids": input_ids,
        "attention_mask": np.ones_like(input_ids),
        "token_type_ids": np.array([text.type_ids], dtype=np.int64),
    }


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
