"""Choose the sizes of a model's parts for a time: those that lose the least importance and are fast enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

STEPS = 10_000  # that the time is divided into
SMALLEST_TIME = 1e-9
ROUNDING = 1e-6  # of a step


@dataclass(frozen=True)
class Part:
    """What one part of a model (a layer's attention, or its feed-forward) may become.

    Attributes:
        sizes: (options) numbers of units that may be kept.
        ms: (options) its time with each.
        lost: (options) the importance that each gives up.
    """

    sizes: Sequence[int]
    ms: np.ndarray
    lost: np.ndarray


def lost_importance(importance: Tensor, sizes: Sequence[int]) -> np.ndarray:
    """Return (sizes) the importance of all units but the most important ones.

    Args:
        importance: (units) of each.
        sizes: how many units are kept, each at most as many as there are.
    """
    ascending = np.sort(importance.double().numpy())
    # lost[k]: without the k least important ones
    lost = np.concatenate([[0.0], np.cumsum(ascending)])
    return lost[len(ascending) - np.array(sizes)]


def choose(parts: Sequence[Part], budget_ms: float) -> list[int]:
    """Return the size of each part so that their times fit the budget and the least importance is lost.

    A multiple-choice knapsack, solved by dynamic programming over the time that parts take beyond their fastest option,
    in 1 / 10,000 of what is to spare. Times are rounded up: the budget always holds. Of options that lose the same the
    first one is taken.

    Source: Kurtic et al., ZipLM (arXiv:2302.04089), section 3.2, which solves it in the same way (SPDY, Frantar and
    Alistarh 2022, arXiv:2201.13096).

    Args:
        parts: of the model.
        budget_ms: for all of them.

    Raises:
        ValueError: if the fastest options together take longer.
    """
    spare = budget_ms - fastest_ms(parts)
    if spare < -SMALLEST_TIME:
        raise ValueError(f"the fastest options take {-spare} ms longer than {budget_ms} ms")
    step = max(spare, SMALLEST_TIME) / STEPS
    # least[s]: the least importance lost by the parts so far, in s steps
    least = np.zeros(STEPS + 1)
    options_taken: list[np.ndarray] = []
    costs_of: list[np.ndarray] = []
    for part in parts:
        costs = np.ceil((part.ms - part.ms.min()) / step - ROUNDING).astype(int)
        lost = np.full((len(costs), STEPS + 1), np.inf)
        for option, cost in enumerate(costs):
            if cost <= STEPS:
                lost[option, cost:] = least[: STEPS + 1 - cost] + part.lost[option]
        options_taken.append(lost.argmin(axis=0))
        costs_of.append(costs)
        least = lost.min(axis=0)
    sizes = []
    left = STEPS
    # Back from the last part, which has been given what the others have left.
    for part, options, costs in zip(
        reversed(parts), reversed(options_taken), reversed(costs_of), strict=True
    ):
        option = options[left]
        left -= costs[option]
        sizes.append(part.sizes[option])
    return sizes[::-1]


def fastest_ms(parts: Sequence[Part]) -> float:
    """Return the time of all parts with the fastest option of each."""
    return float(sum(part.ms.min() for part in parts))
