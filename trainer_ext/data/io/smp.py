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
    options = FileOptions(file_format="json", encoding=encoding)
    for row in read_rows(path, options=options):
        check_record(row)
        text = row.values["text"]
        spans = locate(row.where, text, row.values["slots"])
        tokens, tags = tag_characters(text, spans)
        # Intents such as QUERY occur in many domains.
        intent = f"{row.values['domain']}/{row.values['intent']}"
        values = {"text": text, "tokens": tokens, "slots": tags, "intent": intent}
        yield Row(values, row.where)


def check_record(row: Row) -> None:
    """Raise `UserError` unless a record has SMP's keys, with values of their types."""
    for key, kind in KEYS.items():
        value = row.values.get(key)
        if not isinstance(value, kind):
            raise UserError(f"{row.where}: {key!r} must be a {kind.__name__}, got {value!r:.80}")
    for slot, values in row.values["slots"].items():
        for value in as_list(values):
            if not isinstance(value, str):
                raise UserError(f"{row.where}: slot {slot!r} must hold text, got {value!r:.80}")


def locate(where: str, text: str, slots: Slots) -> list[Span]:
    """Return where each value stands in the text, none overlapping, in order.

    Raises:
        UserError: for a value that does not occur in the text.
    """
    spans: list[Span] = []
    # A short value may stand inside a long one, whose place it would take away.
    for name, value in longest_first(slots):
        found = occurrences(text, value, name)
        if not found:
            raise UserError(
                f"{where}: the value {value!r} of slot {name!r} does not occur in {text!r}"
            )
        free = first_free(found, spans)
        if free is None:
            logger.info("%s: left out %s %r, inside a longer slot of %r", where, name, value, text)
        else:
            spans.append(free)
    return sorted(spans)


def longest_first(slots: Slots) -> list[tuple[str, str]]:
    """Return (slot, value) of each value, the longest first."""
    pairs = []
    for name, values in slots.items():
        for value in as_list(values):
            pairs.append((name, value))
    return sorted(pairs, key=lambda pair: len(pair[1]), reverse=True)


def as_list(values: str | list[str]) -> list[str]:
    """Return the values of a slot, which the file has as a list only if there are several."""
    if isinstance(values, list):
        return values
    return [values]


def occurrences(text: str, value: str, slot: str) -> list[Span]:
    """Return every place of a value in the text, also those that overlap; none if it is blank."""
    if not value.strip():
        return []
    found = []
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        found.append(Span(start, end, slot))
        # From the next character, not from the end: places may overlap.
        start = text.find(value, start + 1)
    return found


def first_free(found: list[Span], taken: list[Span]) -> Span | None:
    """Return the first span that overlaps none of those that are taken, or None."""
    for span in found:
        if not any(map(span.overlaps, taken)):
            return span
    return None


def main() -> None:
    """Convert a file, as `trainer-ext smp` does."""
    from trainer_ext.cli import smp

    smp.main(prog="python -m trainer_ext.data.io.smp")


if __name__ == "__main__":
    run_main(main)
