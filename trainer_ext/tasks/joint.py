"""Joint intent and slots: one class a text, one tag a word, from one encoder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.files import json_text
from trainer_ext.tasks.activations import softmax
from trainer_ext.tasks.base import Task
from trainer_ext.tasks.entities import OUTSIDE, chunks, slot_f1
from trainer_ext.tasks.label_space import LabelSpace, normalise
from trainer_ext.tasks.transitions import Neighbours, best_path, neighbours, transition_scores
from trainer_ext.tasks.words import Words, join_tokens, split_text

UNSEEN = (
    -1000
)  # and below: intents and tags that no training row has; losses leave negative labels out
NO_WORD = -100
COLUMNS = ("tokens", "slots", "intent")

Outputs = tuple[np.ndarray, Sequence[np.ndarray]]
"""(N, intents), and for each row (words, tags)."""
Reduced = tuple[np.ndarray, Sequence[np.ndarray]]
"""(N,) intents, and for each row its tags, -100 where no word begins."""


@dataclass(frozen=True)
class JointLabelSpace(LabelSpace):
    """Intents as the classes, and beside them the tags.

    Attributes:
        tags: `O` first, so that a word without a prediction (all zeros) is outside.
        by_character: whether the training rows' tokens are characters; a text is then split the same way.
        neighbours: a tag, the next one, and how often training rows have them so.
    """

    tags: tuple[str, ...] = (OUTSIDE,)
    by_character: bool = False
    neighbours: tuple[tuple[str, str, int], ...] = ()

    @classmethod
    def from_rows(
        cls, intents: Iterable[str], tags: Iterable[Sequence[str]], tokens: Iterable[Sequence[str]]
    ) -> "JointLabelSpace":
        """From the training rows."""
        space = LabelSpace.from_values(COLUMNS[2:], intents)
        seen = neighbours(tags)
        names = sorted({tag for pair in seen for tag in pair} - {OUTSIDE})
        by_character = all(len(token) == 1 for row in tokens for token in row)
        tags = (OUTSIDE, *names)
        return cls(space.columns, space.classes, space.values, tags, by_character, as_counted(seen))

    def counted_in(self, tags: Iterable[Sequence[str]]) -> "JointLabelSpace":
        """With the neighbours of other rows: those of a fold's training part."""
        return replace(self, neighbours=as_counted(neighbours(tags)))

    def to_dict(self) -> dict:
        """As stored in a checkpoint's config."""
        plain = LabelSpace(self.columns, self.classes, self.values).to_dict()
        counts = [list(pair) for pair in self.neighbours]
        return {
            **plain,
            "tags": list(self.tags),
            "by_character": self.by_character,
            "neighbours": counts,
        }

    @classmethod
    def from_dict(cls, stored: dict) -> "JointLabelSpace":
        """The inverse of `to_dict`.

        Raises:
            ValueError: for tags that are no names, and neighbours that are no two of them with a count.
        """
        tags, counts = stored["tags"], stored["neighbours"]
        if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"tags {tags!r:.80} are no list of names")
        if not isinstance(counts, list) or not all(is_count(item) for item in counts):
            raise ValueError(f"neighbours {counts!r:.80} are not two tags and a count each")
        own = {
            "by_character": bool(stored["by_character"]),
            "neighbours": tuple(map(tuple, counts)),
        }
        return cls(**{key: tuple(items) for key, items in stored.items() if key not in own}, **own)


def is_count(item: Any) -> bool:
    """Whether this is `[tag, next tag, times]`."""
    if (
        not isinstance(item, list)
        or len(item) != 3
        or not all(isinstance(name, str) for name in item[:2])
    ):
        return False
    return isinstance(item[2], int) and item[2] >= 0


def as_counted(seen: Neighbours) -> tuple[tuple[str, str, int], ...]:
    """In a fixed order."""
    return tuple((*pair, count) for pair, count in sorted(seen.items()))


class Joint(Task):
    """Logits (I,) for the intent, and (tags,) for each word, read at its first sub-token.

    A row's output is the pair of both, with a row of zeros for a word that `max_length` cut off: it is predicted `O`.
    Tags are predicted as the best sequence that the scheme allows (BIO, BIOES), or that training rows have; how often a
    tag follows another in them counts a little.
    """

    name = "joint"
    default_metric = "sentence_accuracy"
    label_space_class = JointLabelSpace
    reads_words = True
    takes_label_names = False
    class_word = "intents"
    fixed_columns = COLUMNS
    has_token_head = True
    ragged_outputs = True
    label_space: JointLabelSpace

    # One table for the process: what one predictor's task has encoded another's scores (the export gate).
    _unseen: ClassVar[list[str]] = []

    @classmethod
    def has_one_label(cls, columns: Sequence[str]) -> bool:
        """Return True: the intent."""
        return True

    def strata(self, labels: Sequence[tuple[int, Sequence[int]]]) -> np.ndarray:
        """Return the intents (N, 1)."""
        return super().strata([intent for intent, _ in labels])

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The intent and the tags."""
        return ("intent", "slots")

    def to_columns(
        self, output: tuple[np.ndarray, np.ndarray], as_list: bool = False
    ) -> dict[str, Any]:
        """Write the intent, and the tags as a JSON list."""
        answer = self.decode(output)
        return {"intent": answer["intent"], "slots": json_text(answer["tags"])}

    def probability_columns(self, output: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        """Return `probability_<intent>`."""
        return super().probability_columns(output[0])

    def oof_columns(self) -> list[str]:
        """Return none: oof.csv has no probabilities of tags."""
        return []

    def heads(self, output: Outputs) -> tuple[np.ndarray, ...]:
        """Divide a row's output into intent logits (I,) and tag logits (words, tags)."""
        return output

    def from_heads(self, heads: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return the pair of a row."""
        return tuple(heads)

    def votes(self, logits: np.ndarray) -> np.ndarray:
        """Return the decision on the intent (I,), or on each word (words, tags), as 0 and 1."""
        chosen = logits.argmax(axis=-1) if logits.ndim == 1 else self.best_tags(logits)
        return np.eye(logits.shape[-1])[chosen]

    def ensemble_loss(
        self, outputs: Outputs, labels: tuple[np.ndarray, Sequence[np.ndarray]]
    ) -> float:
        """Return the sum of both heads' negative log-likelihoods, over the labels that training rows have."""
        intents, tags = outputs
        gold, gold_tags = labels
        words, gold_words = np.concatenate(list(tags)), np.concatenate(list(gold_tags))
        total = 0.0
        for logits, own in ((intents, gold), (words, gold_words)):
            known = own >= 0
            if known.any():
                total += self.nll(logits[known], own[known], 1.0)
        return total

    def true_and_predicted(
        self, labels: tuple[np.ndarray, Sequence[np.ndarray]], logits: Outputs
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the intents (N, 1)."""
        return labels[0][:, None], logits[0].argmax(axis=-1)[:, None]

    def class_pairs(
        self, labels: tuple[np.ndarray, Sequence[np.ndarray]], logits: Outputs
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the intents; one that no training row has is not a class."""
        true, predicted = super().class_pairs(labels, logits)
        return true[true >= 0], predicted[true >= 0]

    @property
    def example_columns(self) -> tuple[str, ...]:
        """The intent only."""
        return ("intent",)

    def as_text(self, item: Sequence[str]) -> str:
        """Join the words with blanks."""
        return " ".join(item)

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(intents,)"""
        return (len(self.label_space.classes),)

    @property
    def token_classes(self) -> int:
        """Number of tags."""
        return len(self.label_space.tags)

    @classmethod
    def required_columns(cls, text_column: str, label_columns: Sequence[str]) -> list[str]:
        """tokens, slots (tags), intent: always called so."""
        return list(COLUMNS)

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Of the intent, of the slots, and of both."""
        return ["intent_accuracy", "slot_f1", "sentence_accuracy"]

    def encode(self, values: Sequence[str]) -> int:
        """Index of the intent; below zero for one that no training row has, which is never predicted: it is wrong."""
        names = self.label_space.classes
        intent = normalise(values[0])
        return names.index(intent) if intent in names else self._encode_unseen(intent)

    def encode_tags(self, tags: Sequence[str]) -> list[int]:
        """Index of each tag; below zero for one that no training row has."""
        known = self.label_space.tags
        return [known.index(tag) if tag in known else self._encode_unseen(tag) for tag in tags]

    def _encode_unseen(self, name: str) -> int:
        if name not in self._unseen:
            self._unseen.append(name)
        return UNSEEN - self._unseen.index(name)

    def tag_names(self, indices: Sequence[int]) -> list[str]:
        """The tags of indices from `encode_tags` or from a prediction."""
        return [self.label_space.tags[k] if k >= 0 else self._unseen[UNSEEN - k] for k in indices]

    @cached_property
    def transitions(self) -> np.ndarray:
        """(tags, tags), the score of one after another."""
        return transition_scores(
            self.label_space.tags, {(a, b): count for a, b, count in self.label_space.neighbours}
        )

    def best_tags(self, scores: np.ndarray) -> np.ndarray:
        """Indices (words,) of the predicted tags, of scores (words, tags); what was cut off (equal scores) is `O`."""
        seen = len(scores) - int((np.ptp(scores[::-1], axis=-1) == 0).cumprod().sum())
        path = best_path(scores[:seen], self.transitions) if seen else np.zeros(0, dtype=np.int64)
        return np.pad(path, (0, len(scores) - seen))

    def reduce(self, logits: Outputs, labels: tuple[np.ndarray, Sequence[np.ndarray]]) -> Reduced:
        """The intents, and the best tags of each row.

        Args:
            logits: (N, I), and for each row (L, tags).
            labels: (N,), and for each row (L,); positions labelled -100 do not count, and have no tag.
        """
        rows = []
        for scores, gold in zip(logits[1], labels[1], strict=True):
            is_word = np.asarray(gold, dtype=np.int64) != NO_WORD
            tags = np.full(len(is_word), NO_WORD)
            tags[is_word] = self.best_tags(scores[is_word])
            rows.append(tags)
        return logits[0].argmax(axis=-1), rows

    def metrics_of(
        self, reduced: Reduced, labels: tuple[np.ndarray, Sequence[np.ndarray]]
    ) -> dict[str, float]:
        """intent_accuracy, slot_f1 (as seqeval's default), sentence_accuracy (the intent and every tag right)."""
        right = reduced[0] == np.asarray(labels[0])
        whole, pairs = right.copy(), []
        for row, (predicted, gold) in enumerate(zip(reduced[1], labels[1], strict=True)):
            gold = np.asarray(gold, dtype=np.int64)
            predicted, gold = predicted[gold != NO_WORD], gold[gold != NO_WORD]
            whole[row] &= bool((predicted == gold).all())
            pairs.append((self.tag_names(gold.tolist()), self.tag_names(predicted.tolist())))
        return {
            "intent_accuracy": float(right.mean()),
            "slot_f1": slot_f1(pairs),
            "sentence_accuracy": float(whole.mean()),
        }

    def predictions(self, logits: Outputs) -> np.ndarray:
        """The intents' indices, then those of all words' tags."""
        return np.concatenate([logits[0].argmax(axis=-1), *map(self.best_tags, logits[1])])

    def prepare(self, item: str | Sequence[str] | Words) -> Words:
        """A text or its tokens as words."""
        if isinstance(item, Words):
            return item
        by_character = self.label_space.by_character
        if isinstance(item, str):
            return split_text(item, by_character)
        return join_tokens(check_tokens(item), by_character)

    def row_output(
        self, arrays: dict[str, np.ndarray], encoding: Any, item: Words
    ) -> tuple[np.ndarray, np.ndarray]:
        """Intent logits (I,) and the logits (words, tags) at the first piece of each word."""
        tags = np.zeros((len(item.spans), self.token_classes), dtype=np.float32)
        for position, word in reversed(list(enumerate(encoding.word_ids))):
            if word is not None:
                tags[word] = arrays["token_logits"][position]
        return arrays["logits"], tags

    def stack(self, outputs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Outputs:
        """Outputs of rows as (N, I), and a list of (words, tags)."""
        return super().stack([intent for intent, _ in outputs]), [tags for _, tags in outputs]

    def stack_labels(
        self, labels: Sequence[tuple[int, Sequence[int]]]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """(intent, tags) of rows as (N,), and a list of (words,)."""
        return np.asarray([intent for intent, _ in labels]), [
            np.asarray(tags, dtype=np.int64) for _, tags in labels
        ]

    def flat(self, logits: Outputs) -> np.ndarray:
        """All logits of both heads in one axis."""
        return np.concatenate([logits[0].ravel(), *(scores.ravel() for scores in logits[1])])

    def parts(self, logits: Outputs) -> list[np.ndarray]:
        """Each head's logits."""
        return [logits[0], np.concatenate([np.zeros(0), *(scores.ravel() for scores in logits[1])])]

    def one_answer(self, logits: Outputs, labels: tuple[np.ndarray, Sequence[np.ndarray]]) -> str:
        """One intent for all rows, whose intents differ, or else one tag for all words, whose tags differ."""
        intents, tags = (
            logits[0].argmax(axis=-1),
            np.concatenate(list(map(self.best_tags, logits[1]))),
        )
        gold = np.concatenate(list(labels[1]))
        if np.ptp(intents) == 0 and np.ptp(labels[0]) != 0:
            return f"the intent {self.label_space.classes[intents[0]]!r}"
        if len(tags) and np.ptp(tags) == 0 and np.ptp(gold[gold != NO_WORD]) != 0:
            return f"the tag {self.label_space.tags[tags[0]]!r}"
        return ""

    def decode(self, logits: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        """`{"intent", "intent_score", "tags"}` from a row's output."""
        intent, tags = logits
        best = int(intent.argmax())
        return {
            "intent": self.label_space.classes[best],
            "intent_score": round(float(softmax(intent)[best]), 6),
            "tags": self.tag_names(self.best_tags(tags).tolist()),
        }

    def answer(self, item: Words, output: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        """`{"text", "intent", "intent_score", "slots"}`, and `tags` where the input came as tokens."""
        answer = self.decode(output)
        tags = answer.pop("tags")
        slots = []
        for first, after, name in chunks(tags):
            start, end = item.spans[first][0], item.spans[after - 1][1]
            slots.append({"slot": name, "text": item.text[start:end], "start": start, "end": end})
        return {"text": item.text, **answer, "slots": slots} | (
            {"tags": tags} if item.given else {}
        )


def check_tokens(tokens: object) -> list[str]:
    """Tokens as a list of texts, or a `UserError` that says what is there instead."""
    if hasattr(tokens, "tolist"):
        tokens = tokens.tolist()
    if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"'tokens' must be a list of texts, got {tokens!r:.80}")
    for position, token in enumerate(tokens):
        if not token.strip():
            raise UserError(f"'tokens': number {position + 1} is empty: {token!r}")
    return list(tokens)
