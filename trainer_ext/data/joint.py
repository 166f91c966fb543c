"""Read rows of intents and slots as encoded labels, every row checked. Needs no framework."""

import logging
from collections.abc import Iterable

from trainer_ext.characters import on_screen
from trainer_ext.data.io.readers import Row, check_characters
from trainer_ext.errors import UserError, errors_at
from trainer_ext.tasks.base import Task
from trainer_ext.tasks.entities import check_tag
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.tasks.label_space import normalise
from trainer_ext.tasks.words import check_tokens

logger = logging.getLogger(__name__)

SHOWN = 10  # unknown intents and tags that a note names


def joint_label_space(rows: Iterable[Row]) -> JointLabelSpace:
    """Return intents and tags of the training rows, and whether their tokens are characters.

    Iterates rows three times.
    """
    # Generators, because streamed rows are not in memory: each of them reads the file again.
    intents = (raw_intent(row) for row in rows)
    tags = (tokens_and_tags(row)[1] for row in rows)
    return JointLabelSpace.from_rows(intents, tags, (tokens_of(row) for row in rows))


def counted_in(task: Task, rows: Iterable[Row]) -> Task:
    """Return the task, with what it counts in training rows counted in these: those of a fold."""
    # A generator: tasks without tags do not read the rows.
    return task.counted_in(tokens_and_tags(row)[1] for row in rows)


def raw_intent(row: Row) -> str:
    """Return the intent as it stands in the file, or raise `UserError` if it is missing."""
    intent = row.values.get("intent")
    if not isinstance(intent, str) or not intent.strip():
        raise UserError(f"{row.where}: 'intent' must be a text, got {intent!r}")
    return intent


def tokens_of(row: Row) -> list[str]:
    """Return the row's tokens, or raise `UserError` with file and row."""
    check_characters(row, "tokens")
    with errors_at(row.where):
        return check_tokens(row.values.get("tokens"))


def tokens_and_tags(row: Row) -> tuple[list[str], list[str]]:
    """Return tokens and as many tags.

    Raises:
        UserError: with file, row and value: for no tokens, another number of tags, or what is not a tag.
    """
    tokens = tokens_of(row)
    tags = row.values.get("slots")
    if not tokens:
        raise UserError(f"{row.where}: 'tokens' is empty")
    if not isinstance(tags, (list, tuple)):
        raise UserError(
            f"{row.where}: 'slots' must be a list with a tag for each token, got {tags!r:.80}"
        )
    # Silently cut to the shorter of both, every tag after a lost token would be another token's.
    if len(tags) != len(tokens):
        raise UserError(f"{row.where}: {len(tokens)} tokens, but {len(tags)} tags in 'slots'")
    with errors_at(row.where):
        return tokens, list(map(check_tag, tags))


def words_and_labels(
    rows: Iterable[Row],
    task: Task,
) -> tuple[list[list[str]], list[tuple[int, list[int]]]]:
    """Return tokens, and (intent, tags) as indices, of each row in order; log the labels that no training row has."""
    words = []
    labels = []
    unseen: dict[str, None] = {}  # a set that keeps the order of the rows
    for row in rows:
        tokens, tags = tokens_and_tags(row)
        intent = raw_intent(row)
        encoded = task.encode_words(intent, tags)
        words.append(tokens)
        labels.append(encoded)
        names = [normalise(intent), *tags]
        indices = [encoded[0], *encoded[1]]
        for name, index in zip(names, indices, strict=True):
            if index < 0:
                unseen[name] = None
    if unseen:
        shown = on_screen(", ".join(list(unseen)[:SHOWN]))
        logger.info("no training row has %s: rows with them count as wrong", shown)
    return words, labels
