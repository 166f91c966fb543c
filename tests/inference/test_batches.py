"""Grouping by length, padding, and sharing batches out among threads."""

import threading

import numpy as np
import pytest

from trainer_ext.data.preprocessing.truncation import Tokens
from trainer_ext.inference.batches import group_by_length, pad, share_out


def test_rows_of_similar_length_are_together():
    """The longest first; equal ones in their order."""
    assert group_by_length([3, 9, 3, 7, 1], 2) == [[1, 3], [0, 2], [4]]
    assert group_by_length([3, 9], 1) == [[1], [0]]
    assert group_by_length([], 4) == []


def test_padded_on_the_right():
    """Padding has the id of the pad token, and neither mask nor type."""
    arrays = pad([Tokens([5, 6, 7], [0, 0, 1]), Tokens([8], [1])], pad_token_id=9)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "token_type_ids": [[0, 0, 1], [1, 0, 0]],
    }


def test_a_single_text_is_as_in_a_batch():
    """Same arrays, same types."""
    text = Tokens([5, 6], [0, 1])
    alone = pad([text], pad_token_id=9)
    for name, array in pad([text, text], pad_token_id=9).items():
        assert alone[name].dtype == array.dtype == np.int64
        assert alone[name].tolist() == array[:1].tolist()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 200])
def test_each_job_is_done_once_and_in_order(count, threads):
    """Whoever does it."""
    done = []

    def work(job: int) -> int:
        done.append(job)
        return job * job

    jobs = list(range(count))
    assert share_out(work, jobs, threads) == [job * job for job in jobs]
    assert sorted(done) == jobs


def test_as_many_threads_as_asked_for_and_the_caller_is_one():
    """None of the three gets past the barrier alone."""
    barrier = threading.Barrier(3, timeout=30)
    seen = set()

    def work(job: int) -> None:
        barrier.wait()
        seen.add(threading.get_ident())

    share_out(work, range(3), 3)
    assert len(seen) == 3
    assert threading.get_ident() in seen


@pytest.mark.parametrize("in_caller", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_ends_all_threads(error, in_caller):
    """It comes out, and what is not begun is left."""
    caller = threading.get_ident()
    both = threading.Barrier(2, timeout=30)
    done = []

    def work(job: int) -> None:
        if job < 2:
            both.wait()
            if (threading.get_ident() == caller) == in_caller:
                raise error
        done.append(job)
        both_are_past.wait(30)

    both_are_past = threading.Event()
    threading.Timer(0.2, both_are_past.set).start()
    with pytest.raises(error):
        share_out(work, range(1000), 2)
    assert len(done) <= 2
