"""Rows of intents and slots to encoded labels, every row checked. Needs no framework."""

import sys
from collections.abc import Iterable

from trainer_ext.characters import on_screen
from trainer_ext.data.io.readers import Row, check_characters
from trainer_ext.errors import UserError
from trainer_ext.tasks.base import Task
from trainer_ext.tasks.entities import check_tag
from trainer_ext.tasks.joint import Joint, check_tokens
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.tasks.label_space import normalise


def joint_label_space(rows: Iterable[Row]) -> JointLabelSpace:
    """Intents and tags of the training rows, and whether their tokens are characters; goes through rows thrice."""
    intents = (raw_intent(row) for row in rows)
    tags = (tokens_and_tags(row)[1] for row in rows)
    return JointLabelSpace.from_rows(intents, tags, (tokens_of(row) for row in rows))


def counted_in(task: Task, rows: Iterable[Row]) -> Task:
    """The task, with what it counts in training rows counted in these: those of a fold."""
    if not isinstance(task, Joint):
        return task
    return task.counted_in(tokens_and_tags(row)[1] for row in rows)


def raw_intent(row: Row) -> str:
    """The intent as it stands in the file, or a `UserError` when it is missing."""
    intent = row.values.get("intent")
    if not isinstance(intent, str) or not intent.strip():
        raise UserError(f"{row.where}: 'intent' must be a text, got {intent!r}")
    return intent


def tokens_of(row: Row) -> list[str]:
    """The row's tokens, or a `UserError` with file and row."""
    check_characters(row, "tokens")
    try:
        return check_tokens(row.values.get("tokens"))
    except UserError as error:
        raise UserError(f"{row.where}: {error}") from None


def tokens_and_tags(row: Row) -> tuple[list[str], list[str]]:
    """Tokens and as many tags.

    Raises:
        UserError: with file, row and value: for no tokens, another number of tags, or what is no tag.
    """
    tokens, tags = tokens_of(row), row.values.get("slots")
    if not tokens:
        raise UserError(f"{row.where}: 'tokens' is empty")
    if not isinstance(tags, (list, tuple)):
        raise UserError(
            f"{row.where}: 'slots' must be a list with a tag for each token, got {tags!r:.80}"
        )
    if len(tags) != len(tokens):
        raise UserError(f"{row.where}: {len(tokens)} tokens, but {len(tags)} tags in 'slots'")
    try:
        return tokens, [check_tag(tag) for tag in tags]
    except UserError as error:
        raise UserError(f"{row.where}: {error}") from None


def words_and_labels(
    rows: Iterable[Row], task: Joint
) -> tuple[list[list[str]], list[tuple[int, list[int]]]]:
    """Return tokens, and (intent, tags) as indices, of each row in order; say which labels no training row has."""
    words, labels = [], []
    unseen: dict[str, None] = {}  # a set that keeps the order of the rows
    for row in rows:
        tokens, tags = tokens_and_tags(row)
        intent = raw_intent(row)
        intent_index, tag_indices = task.encode([intent]), task.encode_tags(tags)
        words.append(tokens)
        labels.append((intent_index, tag_indices))
        names = zip((normalise(intent), *tags), (intent_index, *tag_indices), strict=True)
        unseen.update({name: None for name, index in names if index < 0})
    if unseen:
        shown = ", ".join(list(unseen)[:10])
        print(
            f"note: no training row has {on_screen(shown)}: rows with them count as wrong",
            file=sys.stderr,
        )
    return words, labels
