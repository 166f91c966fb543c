"""Grouping by length, and sharing batches out among threads."""

import threading

import pytest

from trainer_ext.inference.batches import group_by_length, share_out


def test_rows_of_similar_length_are_together():
    """The longest first; equal ones in their order."""
    assert group_by_length([3, 9, 3, 7, 1], 2) == [[1, 3], [0, 2], [4]]
    assert group_by_length([3, 9], 1) == [[1], [0]]
    assert group_by_length([], 4) == []


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
