"""What each mode makes of a row and its answer: rows to write, and what is left out with the reason."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainer_ext.data.duplicates import text_key
from trainer_ext.data.io.readers import Row
from trainer_ext.data.llm.answers import Answer, Judgement, Paraphrases, PseudoLabel
from trainer_ext.data.provenance import SOURCE_ID, is_new, new_row, source_of

OPERATION = "llm"
# A paraphrase is dropped unless it is between a third and three times as long as its source (and 20 characters more, so
# that a source of one word may become a few).
SHORTEST = 1 / 3
LONGEST = 3
LONGER = 20
# Seen in replies of small models; tab and line breaks may stand in a text.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Kept:
    """A row to write."""

    values: dict[str, Any]


@dataclass(frozen=True)
class LeftOut:
    """A row, or a paraphrase of one, that is not written, and why."""

    reason: str


class Mode(Protocol):
    """Makes rows of a row and the model's answer to it."""

    def results(self, row: Row, answer: Answer) -> Iterator[Kept | LeftOut]:
        """Yield what becomes of the row."""


@dataclass(frozen=True)
class Judge:
    """Mode filter: the row with `judge_score` and `judge_reason`, unless its score is below the threshold."""

    threshold: float

    def results(self, row: Row, answer: Answer) -> Iterator[Kept | LeftOut]:
        """Yield the row, or why it is left out."""
        assert isinstance(answer, Judgement)
        verdict = f"(score {answer.score:g}): {answer.reason}"
        if not answer.keep:
            yield LeftOut(f"judged not to keep {verdict}")
        elif answer.score < self.threshold:
            yield LeftOut(f"judged below the threshold {self.threshold:g} {verdict}")
        else:
            judged = {"judge_score": answer.score, "judge_reason": answer.reason}
            yield Kept({**row.values, **judged})


@dataclass(frozen=True)
class Labeller:
    """Mode label: the row with its pseudo-label in `column` and an `explanation`."""

    column: str

    def results(self, row: Row, answer: Answer) -> Iterator[Kept | LeftOut]:
        """Yield the row."""
        assert isinstance(answer, PseudoLabel)
        yield Kept({**row.values, self.column: answer.label, "explanation": answer.reason})


@dataclass
class Paraphraser:
    """Mode augment: a new row for each text that differs from all texts so far and has about the source's length."""

    text_column: str
    id_column: str
    count: int
    seen: set[bytes] = field(default_factory=set)
    made: Counter[str] = field(default_factory=Counter)

    def remember(self, row: Row) -> None:
        """Take note of an input row: neither its text nor its id is given to a new row."""
        self.seen.add(text_key(row.values[self.text_column]))
        if is_new(row.values):
            self.made[str(row.values[SOURCE_ID])] += 1

    def results(self, row: Row, answer: Answer) -> Iterator[Kept | LeftOut]:
        """Yield the new rows of one row."""
        assert isinstance(answer, Paraphrases)
        original = row.values[self.text_column]
        # Models send more than they were asked for.
        for text in answer.texts[: self.count]:
            text = text.strip()
            fault = self.fault(text, original)
            if fault:
                yield LeftOut(f"{fault}: {text!r}")
            else:
                yield Kept(self.new_row(row, text))

    def new_row(self, row: Row, text: str) -> dict[str, Any]:
        """Return a copy of a row with another text and an id of its own, and remember both."""
        source = source_of(row, self.id_column)
        self.seen.add(text_key(text))
        self.made[str(source)] += 1
        new_id = f"{source}-{OPERATION}{self.made[str(source)]}"
        values = {**row.values, self.text_column: text}
        return new_row(values, source, OPERATION, self.id_column, new_id)

    def fault(self, text: str, original: str) -> str | None:
        """Return why a paraphrase is not taken, or None."""
        lengths = f"({len(text)} characters, the source has {len(original)})"
        if not text:
            return "empty"
        if CONTROL.search(text):
            return "holds control characters"
        if text_key(text) == text_key(original):
            return "unchanged"
        if text_key(text) in self.seen:
            return "a text that is there already"
        if len(text) < SHORTEST * len(original):
            return f"too short {lengths}"
        if len(text) > LONGEST * len(original) + LONGER:
            return f"too long {lengths}"
        return None
