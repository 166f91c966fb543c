"""What each mode makes of the answers: rows to write as (row, None), and what is left out as (None, the reason)."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trainer_ext.data.duplicates import text_key
from trainer_ext.data.io.readers import Row
from trainer_ext.data.llm.job import Outcome
from trainer_ext.data.provenance import SOURCE_ID, is_new, new_row, source_of

OPERATION = "llm"
Result = tuple[dict[str, Any] | None, str | None]
Mode = Callable[[Outcome], Iterator[Result]]
# A paraphrase is dropped when it is not between a third and three times as long as its source (and 20 characters more).
SHORTEST, LONGEST, LONGER = 1 / 3, 3, 20
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def judge(outcome: Outcome, threshold: float) -> Iterator[Result]:
    """Mode filter: the row with `judge_score` and `judge_reason`, or why it goes."""
    answer = outcome.answer
    if answer.keep and answer.score >= threshold:
        yield (
            {**outcome.row.values, "judge_score": answer.score, "judge_reason": answer.reason},
            None,
        )
    else:
        verdict = (
            "judged not to keep" if not answer.keep else f"judged below the threshold {threshold:g}"
        )
        yield None, f"{verdict} (score {answer.score:g}): {answer.reason}"


def label(outcome: Outcome, column: str) -> Iterator[Result]:
    """Mode label: the row with its pseudo-label and `explanation`."""
    yield (
        {**outcome.row.values, column: outcome.answer.label, "explanation": outcome.answer.reason},
        None,
    )


@dataclass
class Paraphraser:
    """Mode augment: a new row for each text that differs from all texts so far and has about the source's length."""

    text_column: str
    id_column: str
    count: int
    seen: set[bytes] = field(default_factory=set)
    made: Counter = field(default_factory=Counter)

    def know(self, row: Row) -> None:
        """A row that is there: its text is not taken again, nor its id."""
        self.seen.add(text_key(row.values[self.text_column]))
        if is_new(row.values):
            self.made[str(row.values[SOURCE_ID])] += 1

    def __call__(self, outcome: Outcome) -> Iterator[Result]:
        """The new rows of one row."""
        values = outcome.row.values
        source, old = source_of(outcome.row, self.id_column), values[self.text_column]
        for text in (text.strip() for text in outcome.answer.texts[: self.count]):
            reason = self.fault(text, old)
            if reason:
                yield None, f"{reason}: {text!r}"
                continue
            self.seen.add(text_key(text))
            self.made[str(source)] += 1
            new_id = f"{source}-{OPERATION}{self.made[str(source)]}"
            yield (
                new_row(
                    {**values, self.text_column: text}, source, OPERATION, self.id_column, new_id
                ),
                None,
            )

    def fault(self, text: str, old: str) -> str | None:
        """Why a paraphrase is not taken, or None."""
        if not text:
            return "empty"
        if CONTROL.search(text):
            return "holds control characters"
        if text_key(text) == text_key(old):
            return "unchanged"
        if text_key(text) in self.seen:
            return "a text that is there already"
        if len(text) < SHORTEST * len(old):
            return f"too short ({len(text)} characters, the source has {len(old)})"
        if len(text) > LONGEST * len(old) + LONGER:
            return f"too long ({len(text)} characters, the source has {len(old)})"
        return None
