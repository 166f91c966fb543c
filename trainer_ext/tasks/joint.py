"""Joint intent and slots: one class a text, one tag a word, from one encoder."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from trainer_ext.files import json_text
from trainer_ext.tasks.activations import Array, one_hot, softmax
from trainer_ext.tasks.base import Task
from trainer_ext.tasks.decisions import ClassDecisions, Decisions, TagDecisions
from trainer_ext.tasks.entities import entities, slot_counts, slot_f1
from trainer_ext.tasks.joint_space import COLUMNS, JointLabelSpace
from trainer_ext.tasks.outputs import Pair, ScoredRows
from trainer_ext.tasks.rejection import first_head
from trainer_ext.tasks.tag_arrays import NO_WORD, is_constant, without_no_words
from trainer_ext.tasks.tallies import Metrics, ratio
from trainer_ext.tasks.transitions import best_path, transition_scores
from trainer_ext.tasks.words import Words, check_tokens, join_tokens, split_text

RowOutput = tuple[Array, Array]
"""Intent logits (I,), and tag logits (words, tags)."""
Outputs = tuple[Array, Sequence[Array]]
"""(N, intents), and for each row (words, tags)."""
Labels = tuple[Array, Sequence[Array]]
"""(N,) intents, and for each row its tags, -100 at positions that do not begin a word; of predictions as well."""


class Joint(Task):
    """Logits (I,) for the intent, and (tags,) for each word, read at its first sub-token.

    A row's output is the pair of both, with a row of zeros for a word that `max_length` cut off: it is predicted `O`.
    Tags are predicted as the best sequence that the scheme allows (BIO, BIOES), or that training rows have; how often a
    tag follows another in them counts a little.
    """

    name = "joint"
    default_metric = "sentence_accuracy"
    label_space_class = JointLabelSpace
    label_space: JointLabelSpace
    class_word = "intents"
    has_token_head = True
    ragged_outputs = True
    reads_words = True
    fixed_columns = COLUMNS
    takes_label_names = False
    class_key = "intent"
    confidence_key = "intent_score"

    # --- labels -----------------------------------------------------------------------------------------------------

    @classmethod
    def has_one_label(cls, columns: Sequence[str]) -> bool:
        """Return True: the intent."""
        return True

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The intent and the tags."""
        return ("intent", "slots")

    def counted_in(self, tags: Iterable[Sequence[str]]) -> "Joint":
        """Return the task with the tags' neighbours counted in these rows."""
        return Joint(self.label_space.counted_in(tags), self.calibration, self.rejection)

    def encode(self, values: Sequence[Any]) -> int:
        """Return the index of the intent; one below zero, which no training row has, is never predicted."""
        return self.label_space.encode_intent(values[0])

    def encode_tags(self, tags: Sequence[str]) -> list[int]:
        """Return the index of each tag; below zero for one that no training row has."""
        return [self.label_space.encode_tag(tag) for tag in tags]

    def encode_words(self, intent: str, tags: Sequence[str]) -> tuple[int, list[int]]:
        """Return the index of the intent, and that of each tag."""
        return self.encode([intent]), self.encode_tags(tags)

    def tag_names(self, indices: Iterable[int]) -> list[str]:
        """Return the tags of indices from `encode_tags` or from a prediction."""
        return [self.label_space.tag_name(index) for index in indices]

    def stack_labels(self, labels: Sequence[tuple[int, Sequence[int]]]) -> Labels:
        """Return (intent, tags) of rows as (N,), and a list of (words,)."""
        intents = []
        tags = []
        for intent, row_tags in labels:
            intents.append(intent)
            tags.append(np.asarray(row_tags, dtype=np.int64))
        return np.asarray(intents), tags

    def strata(self, labels: Sequence[tuple[int, Sequence[int]]]) -> Array:
        """Return the intents (N, 1)."""
        return super().strata([intent for intent, _ in labels])

    # --- the model --------------------------------------------------------------------------------------------------

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(intents,)"""
        return (len(self.label_space.classes),)

    @property
    def token_classes(self) -> int:
        """Number of tags."""
        return len(self.label_space.tags)

    @property
    def reads_characters(self) -> bool:
        """Return whether the training rows' tokens are characters."""
        return self.label_space.by_character

    def prepare(self, item: str | Sequence[str] | Words) -> Words:
        """Return a text or its tokens as words."""
        if isinstance(item, Words):
            return item
        by_character = self.label_space.by_character
        if isinstance(item, str):
            return split_text(item, by_character)
        return join_tokens(check_tokens(item), by_character)

    def as_text(self, item: Sequence[str]) -> str:
        """Join the words with blanks."""
        return " ".join(item)

    def row_output(self, arrays: dict[str, Array], encoding: Any, item: Words) -> RowOutput:
        """Return intent logits (I,) and the logits (words, tags) at the first piece of each word."""
        tags = np.zeros((len(item.spans), self.token_classes), dtype=np.float32)
        # Backwards, so that the first piece of a word is the last to be written.
        for position in reversed(range(len(encoding.word_ids))):
            word = encoding.word_ids[position]
            if word is not None:
                tags[word] = arrays["token_logits"][position]
        return first_head(arrays), tags

    def stack(self, outputs: Sequence[RowOutput]) -> Outputs:
        """Return outputs of rows as (N, I), and a list of (words, tags)."""
        intents = []
        tags = []
        for intent_logits, tag_logits in outputs:
            intents.append(intent_logits)
            tags.append(tag_logits)
        return super().stack(intents), tags

    # --- predictions and metrics ------------------------------------------------------------------------------------

    @cached_property
    def transitions(self) -> Array:
        """(tags, tags), the score of one after another."""
        counts = {}
        for before, tag, times in self.label_space.neighbours:
            counts[before, tag] = times
        return transition_scores(self.label_space.tags, counts)

    def best_tags(self, scores: Array) -> Array:
        """Return indices (words,) of the predicted tags, from scores (words, tags)."""
        # Words that max_length cut off have equal scores; they are left out of the path, and `O`.
        is_seen = np.ptp(scores, axis=-1) != 0
        tags = np.zeros(len(scores), dtype=np.int64)
        if not is_seen.any():
            return tags
        last_seen = int(np.flatnonzero(is_seen)[-1])
        end = last_seen + 1
        tags[:end] = best_path(scores[:end], self.transitions)
        return tags

    def predictions(self, logits: Outputs) -> Array:
        """Return the intents' indices, then those of all words' tags."""
        intents, tag_scores = logits
        tags = [self.best_tags(scores) for scores in tag_scores]
        return np.concatenate([intents.argmax(axis=-1), *tags])

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Return the metrics of the intent, of the slots, and of both."""
        return ["intent_accuracy", "slot_f1", "sentence_accuracy"]

    def reduce(self, logits: Outputs, labels: Labels) -> Labels:
        """Return the intents, and the best tags of each row, with -100 at the same positions as the labels."""
        intents, tag_scores = logits
        _, true_tags = labels
        rows = []
        for scores, gold in zip(tag_scores, true_tags, strict=True):
            is_word = np.asarray(gold, dtype=np.int64) != NO_WORD
            tags = np.full(len(is_word), NO_WORD)
            tags[is_word] = self.best_tags(scores[is_word])
            rows.append(tags)
        return intents.argmax(axis=-1), rows

    def metrics_of(self, reduced: Labels, labels: Labels) -> dict[str, float]:
        """Return intent_accuracy, slot_f1 (as seqeval's default) and sentence_accuracy (intent and all tags right)."""
        intents, tags = reduced
        true_intents, true_tags = labels
        is_intent_right = intents == np.asarray(true_intents)
        are_tags_right = []
        pairs = []
        for predicted, gold in zip(tags, true_tags, strict=True):
            gold, predicted = without_no_words(gold, predicted)
            all_right = (predicted == gold).all()
            are_tags_right.append(bool(all_right))
            # By name: tags that no training row has begin and end slots, too.
            gold_names = self.tag_names(gold.tolist())
            predicted_names = self.tag_names(predicted.tolist())
            pairs.append((gold_names, predicted_names))
        # With the type, for no rows.
        is_row_right = is_intent_right & np.array(are_tags_right, dtype=bool)
        return {
            "intent_accuracy": float(is_intent_right.mean()),
            "slot_f1": slot_f1(pairs),
            "sentence_accuracy": float(is_row_right.mean()),
        }

    def is_right(self, reduced: Labels, labels: Labels) -> Array:
        """Return for each row whether its intent and all of its tags are predicted (N,)."""
        return np.asarray(self.tally(reduced, labels)[:, 2] == 1)

    def tally(self, reduced: Labels, labels: Labels) -> Array:
        """Return (N, 3 + 2 + 2 S): 1, whether the intent is right, and all of the row; slots of any name, then of each.

        Of slots: how many are found and right, and how many there are on both sides together.
        """
        intents, tags = reduced
        true_intents, true_tags = labels
        names = self.label_space.slots
        rows = []
        are_intents_right = intents == np.asarray(true_intents)
        triples = zip(are_intents_right, tags, true_tags, strict=True)
        for is_intent_right, predicted, gold in triples:
            gold, predicted = without_no_words(gold, predicted)
            gold_names = self.tag_names(gold.tolist())
            predicted_names = self.tag_names(predicted.tolist())
            is_row_right = is_intent_right and predicted_names == gold_names
            slots = slot_counts(gold_names, predicted_names, names)
            rows.append([1.0, float(is_intent_right), float(is_row_right), *slots])
        return np.array(rows)

    def metrics_of_sums(self, sums: Array) -> Metrics:
        """Return sentence_accuracy, intent_accuracy, slot_f1 and slot_f1_<slot>."""
        rows = sums[:, 0]
        found, total = sums[:, 3], sums[:, 4]
        metrics = {
            "intent_accuracy": sums[:, 1] / rows,
            "slot_f1": ratio(2 * found, total),
            "sentence_accuracy": sums[:, 2] / rows,
        }
        for index, name in enumerate(self.label_space.slots):
            first = 5 + 2 * index
            found = sums[:, first]
            total = sums[:, first + 1]
            metrics[f"slot_f1_{name}"] = ratio(2 * found, total)
        return metrics

    # --- answers ----------------------------------------------------------------------------------------------------

    def decode(self, logits: RowOutput) -> dict[str, Any]:
        """Return `{"intent", "intent_score", "tags"}` from a row's output."""
        intent, tags = logits
        best = int(intent.argmax())
        score = float(softmax(intent)[best])
        best_tags = self.best_tags(tags)
        return {
            "intent": self.label_space.classes[best],
            "intent_score": round(score, 6),
            "tags": self.tag_names(best_tags.tolist()),
        }

    def describe(self, item: Words, output: RowOutput) -> dict[str, Any]:
        """Return `{"text", "intent", "intent_score", "slots"}`, and `tags` if the input came as tokens."""
        answer = self.decode(output)
        tags = answer.pop("tags")
        slots = []
        for first, after, name in entities(tags):
            start, _ = item.spans[first]
            _, end = item.spans[after - 1]
            text = item.text[start:end]
            slots.append({"slot": name, "text": text, "start": start, "end": end})
        answer = {"text": item.text, **answer, "slots": slots}
        # Of a text that was split here, the reader does not know which words the tags belong to.
        if item.given:
            answer["tags"] = tags
        return answer

    def to_columns(self, output: RowOutput, as_list: bool = False) -> dict[str, Any]:
        """Write the intent, and the tags as a JSON list."""
        answer = self.decode(output)
        # Tags hold any character, so that no separator could part them.
        tags = json_text(answer["tags"])
        return {"intent": answer["intent"], "slots": tags}

    def probability_columns(self, output: RowOutput) -> dict[str, float]:
        """Return `probability_<intent>`."""
        return super().probability_columns(output[0])

    # --- two models compared, ensembles, pictures -------------------------------------------------------------------

    def flat(self, logits: Outputs) -> Array:
        """Return all logits of both heads in one axis."""
        return np.concatenate(self.parts(logits), axis=None)

    def parts(self, logits: Outputs) -> list[Array]:
        """Return each head's logits."""
        intents, tags = logits
        # The empty array is there for no rows, which cannot be concatenated.
        all_tags = np.concatenate([np.zeros(0), *tags], axis=None)
        return [intents, all_tags]

    def changed(self, logits: Outputs, reference: Outputs) -> Array:
        """Return for each row whether its intent or any of its tags differs (N,)."""
        intents, tags = logits
        other_intents, other_tags = reference
        differs = intents.argmax(axis=-1) != other_intents.argmax(axis=-1)
        for row, (own, other) in enumerate(zip(tags, other_tags, strict=True)):
            own_best = self.best_tags(own)
            other_best = self.best_tags(other)
            if (own_best != other_best).any():
                differs[row] = True
        return np.asarray(differs)

    def one_answer(self, logits: Outputs, labels: Labels) -> str:
        """Return one intent for all rows, whose intents differ, or else one tag for all words, whose tags differ."""
        true_intents, true_tags = labels
        intent_logits, tag_scores = logits
        intents = intent_logits.argmax(axis=-1)
        if is_constant(intents) and not is_constant(true_intents):
            intent = self.label_space.classes[intents[0]]
            return f"the intent {intent!r}"
        best = list(map(self.best_tags, tag_scores))
        tags = np.concatenate(best)
        gold = np.concatenate(list(true_tags))
        gold = gold[gold != NO_WORD]
        if is_constant(tags) and not is_constant(gold):
            tag = self.label_space.tags[tags[0]]
            return f"the tag {tag!r}"
        return ""

    def heads(self, output: RowOutput) -> tuple[Array, ...]:
        """Return intent logits (I,) and tag logits (words, tags)."""
        return output

    def from_heads(self, heads: Sequence[Array]) -> tuple[Array, ...]:
        """Return the pair of a row."""
        return tuple(heads)

    def oof_columns(self) -> list[str]:
        """Return none: oof.csv does not have the probabilities of tags."""
        return []

    def votes(self, logits: Array) -> Array:
        """Return the decision on the intent (I,), or on each word (words, tags), as 0 and 1."""
        classes = logits.shape[-1]
        if logits.ndim == 1:
            return one_hot(logits.argmax(axis=-1), classes)
        return one_hot(self.best_tags(logits), classes)

    def ensemble_loss(self, outputs: Outputs, labels: Labels) -> float:
        """Return the sum of both heads' negative log-likelihoods, over the labels that training rows have."""
        intents, tags = outputs
        true_intents, true_tags = labels
        words = np.concatenate(list(tags))
        word_labels = np.concatenate(list(true_tags))
        heads = [(intents, true_intents), (words, word_labels)]
        total = 0.0
        for logits, own in heads:
            is_known = own >= 0
            if is_known.any():
                total += self.nll(logits[is_known], own[is_known], 1.0)
        return total

    def true_and_predicted(self, scored: ScoredRows) -> Pair:
        """Return the intents (N,)."""
        intents, _ = scored["labels"]
        logits, _ = scored["logits"]
        return intents, logits.argmax(axis=-1)

    def decisions(self, scored: ScoredRows) -> list[Decisions]:
        """Describe the intents, and the tags of all words."""
        space = self.label_space
        intents, predicted = self.true_and_predicted(scored)
        intent_logits, tag_scores = scored["logits"]
        true_tags = list(scored["labels"][1])
        rows = np.arange(len(intents))
        of_intents = ClassDecisions(
            "intent", space.classes, rows, intents, predicted, intent_logits
        )
        row_of_word = np.repeat(rows, [len(tags) for tags in true_tags])
        best = [self.best_tags(scores) for scores in tag_scores]
        true, predicted, logits = map(np.concatenate, (true_tags, best, list(tag_scores)))
        of_words = TagDecisions("slots", space.tags, row_of_word, true, predicted, logits)
        return [of_intents, of_words]

    def class_pairs(self, scored: ScoredRows) -> Pair:
        """Return the intents; one that no training row has is not a class."""
        intents, predicted = self.true_and_predicted(scored)
        is_known = intents >= 0
        return intents[is_known], predicted[is_known]

    @property
    def example_columns(self) -> tuple[str, ...]:
        """The intent only."""
        return ("intent",)
