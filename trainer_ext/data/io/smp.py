"""SMP ECDT's JSON to rows for the task `joint`, which reads a .json file so; as a script it writes them out:

    python -m trainer_ext.data.io.smp IN.json OUT.jsonl

IN is a JSON array of `{"text", "domain", "intent", "slots": {name: value or list of values}}`; each line of OUT is
`{"text", "tokens", "slots", "intent"}` with the text's characters (no blanks) as tokens, BIO tags, and
`domain/intent` as the intent, since intents such as QUERY occur in many domains. The file says which values, not where
they stand: longer values take their place first, each the first place in the text that is still free. A value
that stands only inside a longer one cannot be tagged beside it: it is left out, and named on the screen.
"""

import argparse
import sys
from collections.abc import Iterator

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.readers import Row, read_rows
from trainer_ext.data.io.slot_files import tag_characters
from trainer_ext.errors import ArgumentParser, UserError, run_main
from trainer_ext.files import atomic_writer, json_text


def read_smp(path: str, encoding: str = "utf-8") -> Iterator[Row]:
    """The converted rows, in order.

    Raises:
        UserError: for a record without these keys, or a value that is not in its text, with file, row and value.
    """
    for row in read_rows(path, options=FileOptions(file_format="json", encoding=encoding)):
        values = row.values
        for key, kind in (("text", str), ("domain", str), ("intent", str), ("slots", dict)):
            if not isinstance(values.get(key), kind):
                raise UserError(
                    f"{row.where}: {key!r} must be a {kind.__name__}, got {values.get(key)!r:.80}"
                )
        tokens, tags = tag_characters(
            values["text"], locate(row.where, values["text"], values["slots"])
        )
        intent = f"{values['domain']}/{values['intent']}"
        yield Row(
            {"text": values["text"], "tokens": tokens, "slots": tags, "intent": intent}, row.where
        )


def locate(where: str, text: str, slots: dict[str, str | list[str]]) -> list[tuple[int, int, str]]:
    """(start, end, slot) of each value, none overlapping."""
    values = [
        (v, name)
        for name, value in slots.items()
        for v in (value if isinstance(value, list) else [value])
    ]
    spans: list[tuple[int, int, str]] = []
    for value, name in sorted(values, key=lambda pair: -len(pair[0])):
        starts = [k for k in range(len(text)) if value.strip() and text.startswith(value, k)]
        free = [
            k for k in starts if all(k + len(value) <= start or k >= end for start, end, _ in spans)
        ]
        if not starts:
            raise UserError(
                f"{where}: the value {value!r} of slot {name!r} does not occur in {text!r}"
            )
        if free:
            spans.append((free[0], free[0] + len(value), name))
        else:
            print(
                f"{where}: left out {name} {value!r}, inside a longer slot of {text!r}",
                file=sys.stderr,
            )
    return sorted(spans)


def main() -> None:
    """Convert one file."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="SMP's JSON")
    parser.add_argument("output", help="where the jsonl goes")
    args = parser.parse_args()
    with atomic_writer(args.output) as file:
        count = sum(bool(file.write(json_text(row.values) + "\n")) for row in read_smp(args.input))
    print(f"{count} rows -> {args.output}")


if __name__ == "__main__":
    run_main(main)
