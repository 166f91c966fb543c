"""Order the training rows by functions of (seed, epoch), so that a resumed run sees the same batches."""

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch.utils.data import Sampler

from trainer_ext.data.sampling.resample import Resampler

CHUNK = 65536  # row numbers that are Python objects at a time


class LengthGroupedSampler(Sampler[int]):
    """Random order in which each run of `batch_size` rows has similar lengths; the longest batch comes first.

    transformers' sampler of this name draws from the global random state, so a run resumed inside an epoch would see
    other batches than the one that was interrupted; and it leaves the batches of a mega-batch sorted by length.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch's number, from the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = epoch_generator(self.seed, self.epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        return iter(group_by_length(order, self.lengths, self.batch_size, generator))


class BalancedSampler(Sampler[int]):
    """The rows that a `Resampler` draws for the epoch, in random order; with `lengths` grouped by length.

    Args:
        resampler: draws the rows.
        seed: of the draw and of the order.
        lengths: of each row of the data set; None for no grouping.
        batch_size: rows that are to have similar lengths.
    """

    def __init__(
        self,
        resampler: Resampler,
        seed: int,
        lengths: Sequence[int] | None = None,
        batch_size: int = 1,
    ):
        self.resampler = resampler
        self.seed = seed
        self.lengths = None if lengths is None else list(lengths)
        self.batch_size = batch_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch's number, from the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.resampler)

    def __iter__(self) -> Iterator[int]:
        generator = epoch_generator(self.seed, self.epoch)
        rows = torch.from_numpy(self.resampler.draw(self.seed, self.epoch))
        rows = rows[torch.randperm(len(rows), generator=generator)]
        if self.lengths is not None:
            return iter(group_by_length(rows.tolist(), self.lengths, self.batch_size, generator))
        return self.in_chunks(rows)

    @staticmethod
    def in_chunks(rows: torch.Tensor) -> Iterator[int]:
        """Yield row numbers without a list of all of them, which for many millions takes much memory."""
        for chunk in rows.split(CHUNK):
            yield from chunk.tolist()


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Return the random numbers of one epoch."""
    # A seed has fewer than a million epochs, so that no two pairs meet.
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def group_by_length(
    order: list[int],
    lengths: Sequence[int],
    batch_size: int,
    generator: torch.Generator,
) -> list[int]:
    """Return row numbers in another order: each run of `batch_size` has similar lengths, the longest batch is first."""
    # Sorted over windows of up to 50 batches, and at least 4 windows, so that batches still differ between epochs.
    batches_in_window = min(len(order) // (batch_size * 4), 50)
    window = batch_size * max(1, batches_in_window)
    batches = []
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows.sort(key=lengths.__getitem__, reverse=True)
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    # A short batch must stay last, or every later batch would straddle two of these.
    short = batches.pop() if len(batches[-1]) < batch_size else []
    order_of_batches = torch.randperm(len(batches), generator=generator).tolist()
    shuffled = [batches[number] for number in order_of_batches]
    if shuffled:
        # The longest first: running out of memory should happen at once, not after an hour.
        longest_rows = [lengths[batch[0]] for batch in shuffled]
        longest = longest_rows.index(max(longest_rows))
        shuffled.insert(0, shuffled.pop(longest))
    return list(chain(*shuffled, short))
