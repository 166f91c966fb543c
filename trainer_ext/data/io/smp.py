"""Convert SMP ECDT's JSON to rows for the task `joint`, which reads .json files so; as a script, write them to a file:

    python -m trainer_ext.data.io.smp IN.json OUT.jsonl

IN is a JSON array of `{"text", "domain", "intent", "slots": {name: value or list of values}}`; each line of OUT is
`{"text", "tokens", "slots", "intent"}` with the text's characters (no blanks) as tokens, BIO tags, and
`domain/intent` as the intent, since intents such as QUERY occur in many domains. The file says which values, not where
they stand: longer values are placed first, each at the first place in the text that is still free. A value that stands
only inside a longer one cannot be tagged beside it: it is left out, and a note names it.
"""

import logging
from collections.abc import Iterator, Mapping

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.readers import Row, read_rows
from trainer_ext.data.io.slot_files import Span, tag_characters
from trainer_ext.errors import UserError, run_main

logger = logging.getLogger(__name__)

Slots = Mapping[str, str | list[str]]
KEYS = {"text": str, "domain": str, "intent": str, "slots": dict}


def read_smp(path: str, encoding: str = "utf-8") -> Iterator[Row]:
    """Yield the converted rows, in order.

    Raises:
        UserError: for a record without these keys, or a value that is not in its text, with file, row and value.
    """
    for row in read_rows(path, options=FileOptions(file_format="json", encoding=encoding)):
        values = row.values
        for key, kind in KEYS.items():
            if not isinstance(values.get(key), kind):
                raise UserError(
                    f"{row.where}: {key!r} must be a {kind.__name__}, got {values.get(key)!r:.80}"
                )
        text = values["text"]
        tokens, tags = tag_characters(text, locate(row.where, text, values["slots"]))
        intent = f"{values['domain']}/{values['intent']}"
        yield Row({"text": text, "tokens": tokens, "slots": tags, "intent": intent}, row.where)


def locate(where: str, text: str, slots: Slots) -> list[Span]:
    """Return where each value stands in the text, none overlapping, in order.

    Raises:
        UserError: for a value that does not occur in the text.
    """
    spans: list[Span] = []
    # A short value may stand inside a long one, whose place it would take away.
    for name, value in longest_first(slots):
        starts = occurrences(text, value)
        if not starts:
            raise UserError(
                f"{where}: the value {value!r} of slot {name!r} does not occur in {text!r}"
            )
        free = [start for start in starts if is_free(start, start + len(value), spans)]
        if free:
            spans.append(Span(free[0], free[0] + len(value), name))
        else:
            logger.info("%s: left out %s %r, inside a longer slot of %r", where, name, value, text)
    return sorted(spans)


def longest_first(slots: Slots) -> list[tuple[str, str]]:
    """Return (slot, value) of each value, the longest first."""
    pairs = []
    for name, values in slots.items():
        # One value, or a list if the slot occurs more than once.
        for value in [values] if isinstance(values, str) else values:
            pairs.append((name, value))
    return sorted(pairs, key=lambda pair: len(pair[1]), reverse=True)


def occurrences(text: str, value: str) -> list[int]:
    """Return where a value begins in the text; nowhere if it is blank."""
    if not value.strip():
        return []
    return [start for start in range(len(text)) if text.startswith(value, start)]


def is_free(start: int, end: int, spans: list[Span]) -> bool:
    """Return whether a stretch overlaps none of the spans."""
    return all(end <= span.start or start >= span.end for span in spans)


def main() -> None:
    """Convert a file, as `trainer-ext smp` does."""
    from trainer_ext.cli import smp

    smp.main(prog="python -m trainer_ext.data.io.smp")


if __name__ == "__main__":
    run_main(main)
