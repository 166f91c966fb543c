"""Length-grouped batches whose order is a function of (seed, epoch), so that a resumed run sees the same batches."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


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
        """Called by the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        window = self.batch_size * max(1, min(len(self) // (self.batch_size * 4), 50))
        batches = []
        for start in range(0, len(self), window):
            rows = sorted(order[start : start + window], key=self.lengths.__getitem__, reverse=True)
            batches += [rows[k : k + self.batch_size] for k in range(0, len(rows), self.batch_size)]
        # A short batch must stay last, or every later batch would straddle two of these.
        short = batches.pop() if len(batches[-1]) < self.batch_size else []
        shuffled = [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]
        if shuffled:  # running out of memory should happen at once, not after an hour
            longest = max(range(len(shuffled)), key=lambda k: self.lengths[shuffled[k][0]])
            shuffled.insert(0, shuffled.pop(longest))
        return iter([row for batch in [*shuffled, short] for row in batch])
