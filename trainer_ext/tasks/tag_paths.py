"""Tags that follow each other as their scheme has it, and the best such sequence."""

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import numpy as np

from trainer_ext.tasks.chunks import OUTSIDE

FORBIDDEN = -1e9


def follows(before: str, tag: str, closed: bool) -> bool:
    """Whether `tag` may follow `before`: `I-a` and `E-a` only `B-a` or `I-a`; and with `closed` nothing else may.

    Args:
        before: the tag before; the start and the end of a text count as `O`.
        tag: the tag.
        closed: whether the scheme ends its slots (BIOES), so that an open one has to go on.
    """
    is_open = before[0] in "BI"
    if tag[0] in "IE":
        return is_open and before[2:] == tag[2:]
    return not (closed and is_open)


def is_closed(tags: Iterable[str]) -> bool:
    """Whether tags are of a scheme that ends its slots."""
    return any(tag[0] in "ES" for tag in tags)


def neighbours(rows: Iterable[Sequence[str]]) -> set[tuple[str, str]]:
    """Every pair of tags that stand side by side in rows of tags, with `O` before the first and after the last one."""
    return {pair for row in rows for pair in pairwise([OUTSIDE, *row, OUTSIDE])}


def irregular_pairs(pairs: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of `neighbours` that break the scheme, sorted: another convention (IOB1), or slips."""
    closed = is_closed(tag for pair in pairs for tag in pair)
    return sorted(pair for pair in pairs if not follows(*pair, closed))


def allowed_pairs(tags: Sequence[str], irregular: Iterable[tuple[str, str]]) -> np.ndarray:
    """(tags, tags), whether the second may follow the first: by the scheme, or because training rows have it."""
    irregular, closed = set(irregular), is_closed(tags)
    return np.array([[follows(a, b, closed) or (a, b) in irregular for b in tags] for a in tags])


def best_path(scores: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Indices (L,) of the allowed sequence with the largest sum of scores; of equal ones the lowest indices.

    Source: Viterbi 1967 (doi:10.1109/TIT.1967.1054010), without transition scores.

    Args:
        scores: (L, tags).
        allowed: (tags, tags), from `allowed_pairs`; `O` is tag 0, and stands before the first and after the last word.
    """
    path = scores.argmax(axis=-1)
    outside = [0]
    if allowed[np.concatenate([outside, path]), np.concatenate([path, outside])].all():
        return path  # nearly always: no sequence has a larger sum
    cost = np.where(allowed, 0.0, FORBIDDEN)
    total, came_from = cost[0] + scores[0], []
    for row in scores[1:]:
        reached = total[:, None] + cost
        came_from.append(reached.argmax(axis=0))
        total = reached.max(axis=0) + row
    path = [int((total + cost[:, 0]).argmax())]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])
