"""Which tags may follow each other, by their scheme and the training rows, and the best such sequence of tags."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.entities import OUTSIDE

FORBIDDEN = -1e9
WEIGHT = 0.5
"""Of the log probabilities of neighbours, when they are added to a model's scores, which know part of them already. On
the validation rows of SNIPS 0.3 to 0.6 are much the same, and better than 0 and 1."""
UNSEEN_WEIGHT = 1e-3
"""Of the transitions to and from a word that the model did not see: they only decide between equal paths."""

Neighbours = Mapping[tuple[str, str], int]
"""How often the second tag follows the first; `O` comes before the first word and after the last one."""


def follows(before: str, tag: str, closed: bool) -> bool:
    """Return whether `tag` may follow `before`: `I-a` and `E-a` only follow `B-a` or `I-a`.

    Args:
        before: the tag before; the start and the end of a text count as `O`.
        tag: the tag.
        closed: whether the scheme ends its slots (BIOES), so that nothing else may follow an open one.
    """
    is_open = before[0] in "BI"
    goes_on = tag[0] in "IE"
    if goes_on:
        # Behind the prefix and its hyphen is the name of the slot.
        return is_open and before[2:] == tag[2:]
    must_go_on = closed and is_open
    return not must_go_on


def is_closed(tags: Iterable[str]) -> bool:
    """Return whether tags are of a scheme that ends its slots."""
    return any(tag[0] in "ES" for tag in tags)


def neighbours(rows: Iterable[Sequence[str]]) -> Neighbours:
    """Count which tag follows which in rows of tags."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        # A text begins and ends outside of any slot.
        counts.update(pairwise([OUTSIDE, *row, OUTSIDE]))
    return counts


def allowed_pairs(tags: Sequence[str], seen: Neighbours) -> Array:
    """Return (tags, tags), whether the second may follow the first.

    The scheme allows it, or training rows have it: real files break their scheme here and there, and what a model has
    learned from them it may say.
    """
    closed = is_closed(tags)
    allowed = np.zeros((len(tags), len(tags)), dtype=bool)
    for row, before in enumerate(tags):
        for column, tag in enumerate(tags):
            was_seen = (before, tag) in seen
            allowed[row, column] = was_seen or follows(before, tag, closed)
    return allowed


def transition_scores(tags: Sequence[str], seen: Neighbours) -> Array:
    """Return (tags, tags), the score of a tag after another: `WEIGHT` log p(second | first), or `FORBIDDEN`.

    p(b | a) = (c(a, b) + p(b)) / (c(a) + 1), with counts c of training rows and p(b) how often b follows any tag.
    Source: MacKay and Peto, A Hierarchical Dirichlet Language Model (1995), with alpha 1.
    """
    counts = np.zeros((len(tags), len(tags)))
    for row, before in enumerate(tags):
        for column, tag in enumerate(tags):
            counts[row, column] = seen.get((before, tag), 0)
    # One more of each tag than was counted, so that no logarithm is infinite.
    as_second = counts.sum(axis=0) + 1
    prior = as_second / as_second.sum()
    as_first = counts.sum(axis=1, keepdims=True)
    probabilities = (counts + prior) / (as_first + 1)
    scores = WEIGHT * np.log(probabilities)
    return np.where(allowed_pairs(tags, seen), scores, FORBIDDEN)


def best_path(scores: Array, transitions: Array) -> Array:
    """Return indices (L,) of the sequence with the largest sum of scores and transitions; the lowest of equal ones.

    A word whose scores are all equal was not seen by the model (it has no token): it is `O` unless a slot goes on
    after it, and hardly changes what the others are.

    Source: Viterbi 1967 (doi:10.1109/TIT.1967.1054010).

    Args:
        scores: (L, tags), L at least 1.
        transitions: (tags, tags), from `transition_scores`; `O` is tag 0, and stands before the first and after the
            last word.
    """
    is_unseen = np.ptp(scores, axis=-1) == 0
    near_unseen = scores_near_unseen(transitions)
    step = transitions
    if is_unseen[0]:
        step = near_unseen
    # Row 0 is `O`, which stands before the first word.
    total = step[0] + scores[0]
    came_from = []
    for word in range(1, len(scores)):
        step = transitions
        # Both steps: to the word that was not seen, and from it.
        if is_unseen[word - 1] or is_unseen[word]:
            step = near_unseen
        reached = total[:, None] + step
        came_from.append(reached.argmax(axis=0))
        total = reached.max(axis=0) + scores[word]
    total = total + transitions[:, 0]
    tag = int(total.argmax())
    path = [tag]
    for best_before in reversed(came_from):
        tag = int(best_before[tag])
        path.append(tag)
    path.reverse()
    return np.array(path)


def scores_near_unseen(transitions: Array) -> Array:
    """Return the transitions to and from a word that the model did not see: small, and to `O` at no cost."""
    is_forbidden = transitions <= FORBIDDEN
    small = transitions * UNSEEN_WEIGHT
    small[:, 0] = 0.0
    # Last, because the weight would turn what is forbidden into what is merely unlikely.
    small[is_forbidden] = FORBIDDEN
    return small
