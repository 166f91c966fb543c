"""Several processes, one for each device: what they sum up, agree on and share out. With one process all is free."""

from accelerate import Accelerator
from torch import Tensor


class Devices:
    """The processes of a training.

    Every process must call these methods in the same order: each call waits for the same call of the others.

    Args:
        accelerator: of the Trainer.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator

    @property
    def count(self) -> int:
        """How many processes there are."""
        return self.accelerator.num_processes

    def sum(self, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add up each tensor over the processes."""
        if self.count == 1:
            return totals
        summed = {}
        for name, total in totals.items():
            summed[name] = self.accelerator.reduce(total.to(self.accelerator.device))
        return summed

    def all_true(self, flag: Tensor) -> bool:
        """Return whether a boolean is true in every process."""
        summed = self.sum({"flag": flag.long()})
        return bool(summed["flag"] == self.count)

    def own_rows(self, count: int) -> int:
        """Return how many of the `count` rows of an evaluation batch are this process's own.

        If the rows cannot be shared out evenly, accelerate fills up the last batches with the first rows.
        """
        state = self.accelerator.gradient_state
        if self.count == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return count
        rows = state.remainder - self.accelerator.process_index * count
        return max(1, min(rows, count))  # without any row, Trainer drops the loss of the batch
