"""The loss terms since the last log, as means over the items they were made of."""

from collections.abc import Callable

import torch
from torch import Tensor

Number = Tensor | float


class TermMeans:
    """Sums and weights by term; they stay on their device, because reading one would wait for the GPU."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Number, Number]] = {}

    def __bool__(self) -> bool:
        return bool(self.sums)

    def add(self, term: str, total: Number, weight: Number) -> None:
        """Add a batch's sum over items and the weight of these items."""
        earlier_total, earlier_weight = self.sums.get(term, (0.0, 0.0))
        self.sums[term] = (earlier_total + total, earlier_weight + weight)

    def take(
        self,
        sum_over_devices: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    ) -> dict[str, float]:
        """Return the mean of each term over all devices by its name in the log, and start anew."""
        pairs = {}
        for term, (total, weight) in self.sums.items():
            # The only place that waits for the GPU: once a log, not once a step.
            pairs[f"loss_{term}"] = torch.tensor([float(total), float(weight)])
        self.sums.clear()
        means = {}
        for name, pair in sum_over_devices(pairs).items():
            total, weight = pair.tolist()
            # No item may have counted since the last log: then all labels were ignored.
            means[name] = total / max(weight, 1e-8)
        return means
