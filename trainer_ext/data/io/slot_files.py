"""Readers of intent and slot files. Every row has `tokens`, `slots` (a tag a token) and `intent`.

Formats:
    jsonl, parquet:  columns of these names;
    token per line:  `token tag` (one blank or tab between), after the last token a line with the intent alone, then an
                     empty line (SNIPS and ATIS as published with Stack-Propagation, SMP's merge files). Where
                     FILE.intent lies beside FILE the intents are its lines, one for each row, and FILE has none (CAIS).
                     A blank as a token (CAIS has some) is left out with its tag;
    inline tags:     four columns, session, utterance, intent, `<slot>...</slot>` in the utterance; empty lines between
                     sessions (NLPCC 2018 task 4). A corrected value `<song>heard||right</song>` is the heard one, which
                     is what stands in the utterance. The tokens are its characters, without blanks; the row has
                     `session` and `text` too.

The last two are told apart by the first line that is not empty. Streams; `.gz` and BOM as in `readers`.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

from trainer_ext.arguments.files import FileOptions, ending_of
from trainer_ext.data.io.open import open_text, reading_errors
from trainer_ext.data.io.readers import DEFAULTS, Row, check_characters, read_rows
from trainer_ext.errors import UserError
from trainer_ext.tasks.entities import OUTSIDE, check_tag

MARK = re.compile(r"<(/?)([A-Za-z_][\w.-]*)>")
CORRECTION = "||"
LONGEST_RECORD = 1000  # lines, by which a file is told to hold tokens and tags


def read_slu(
    path: str, options: FileOptions = DEFAULTS, intents_inside: bool = True
) -> Iterator[Row]:
    """Yield every row of a labelled file, in order; `options` may say that it is jsonl or parquet.

    `intents_inside`: whether token lines without a file of intents have them; rows to predict need none.

    Raises:
        UserError: for a file that cannot be read or a malformed row, with file, row, line and value.
    """
    if (ending_of(path) if options.file_format == "auto" else options.file_format) in (
        "jsonl",
        "parquet",
    ):
        yield from read_rows(path, options=options)
        return
    with reading_errors(path, options.encoding), open_text(path, "\n", options.encoding) as file:
        lines = numbered(file)
        first = next((item for item in lines if item[1].strip()), None)
        if first is None:
            return
        lines = chain([first], lines)
        if first[1].count("\t") == 3:
            yield from read_inline(path, lines)
        elif Path(intent_path(path)).is_file():
            rows = read_token_lines(path, lines, intents_inside=False)
            yield from with_intents(rows, intent_path(path), options.encoding)
        else:
            yield from read_token_lines(path, lines, intents_inside)


def numbered(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines without their ends, and their numbers."""
    return ((number, line.rstrip("\r\n")) for number, line in enumerate(file, 1))


def intent_path(path: str) -> str:
    """Where the intents of a file without intents are."""
    return path.removesuffix(".gz") + ".intent"


def with_intents(rows: Iterator[Row], path: str, encoding: str) -> Iterator[Row]:
    """Rows with the intents of another file."""
    with reading_errors(path, encoding), open_text(path, "\n", encoding) as file:
        yield from join_intents(rows, path, file)


def is_slu(path: str, options: FileOptions = DEFAULTS) -> bool | None:
    """Whether a text file holds tokens and tags instead of a text a line, by its first record.

    Returns:
        Whether it has intents (in it or beside it), where it holds tokens and tags; None where it does not.
    """
    with reading_errors(path, options.encoding), open_text(path, "\n", options.encoding) as file:
        lines = (line for _, line in numbered(file))
        record = []
        for line in chain([next((line for line in lines if line.strip()), "")], lines):
            if not line.strip() or len(record) == LONGEST_RECORD:
                break
            record.append(line)
    if record and record[0].count("\t") == 3:
        return True if is_inline(record[0]) else None
    if len(record) < 2 or not all(map(is_tagged, record[:-1])):
        return None
    if is_tagged(record[-1]):
        return Path(intent_path(path)).is_file()
    return True if len(record[-1].split()) == 1 else None


def is_tagged(line: str) -> bool:
    """Whether a line is `token tag`."""
    _, separator, tag = line.rpartition("\t" if "\t" in line else " ")
    try:
        return bool(separator and check_tag(tag))
    except UserError:
        return False


def is_inline(line: str) -> bool:
    """Whether a line of four columns has its utterance in the last one again, with tags."""
    _, utterance, _, tagged = line.split("\t")
    try:
        return parse_inline(tagged)[0] == utterance
    except UserError:
        return False


def read_token_lines(
    path: str, lines: Iterator[tuple[int, str]], intents_inside: bool = True
) -> Iterator[Row]:
    """`token tag` lines, closed by a line with the intent, or by an empty line where intents are not in the file."""
    tokens: list[str] = []
    tags: list[str] = []
    number = line_number = 0
    for line_number, line in lines:
        where = f"{path}, row {number + 1} (line {line_number})"
        token, separator, tag = line.rpartition("\t" if "\t" in line else " ")
        if separator and tag:
            check_tag_at(where, tag)
            if token.strip():
                tokens.append(token)
                tags.append(tag)
            elif tag[0] in "BES":
                raise UserError(f"{where}: the token before the tag {tag!r} is empty")
        elif line.strip():
            if not intents_inside:
                raise UserError(
                    f"{where}: {line!r} has no tag, and the intents are in another file"
                )
            if not tokens:
                raise UserError(f"{where}: the intent {line!r} follows no tokens")
            number += 1
            yield Row({"tokens": tokens, "slots": tags, "intent": line}, where)
            tokens, tags = [], []
        elif tokens and not intents_inside:
            number += 1
            yield Row({"tokens": tokens, "slots": tags}, where)
            tokens, tags = [], []
        elif tokens:
            raise UserError(
                f"{where}: an empty line, but no line with the intent after the token {tokens[-1]!r}"
            )
    where = f"{path}, row {number + 1} (line {line_number})"
    if tokens and intents_inside:
        raise UserError(f"{where}: the file ends before the row's intent")
    if tokens:
        yield Row({"tokens": tokens, "slots": tags}, where)


def join_intents(rows: Iterator[Row], intent_path: str, lines: Iterable[str]) -> Iterator[Row]:
    """Rows with the intents of another file, one a line."""
    intents = (line.strip() for line in lines if line.strip())
    for number, (row, intent) in enumerate(zip_longest(rows, intents), 1):
        if row is None:
            raise UserError(
                f"{intent_path}, row {number}: the intent {intent!r} belongs to no row of the other file"
            )
        if intent is None:
            raise UserError(
                f"{row.where}: {intent_path} has no intent for it, only {number - 1} in all"
            )
        yield Row({**row.values, "intent": intent}, row.where)


def check_tag_at(where: str, tag: str) -> None:
    """Raise `UserError` with the place for a malformed tag."""
    try:
        check_tag(tag)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def read_inline(path: str, lines: Iterator[tuple[int, str]]) -> Iterator[Row]:
    """Tab-separated sessions with tags inside the fourth column."""
    number = 0
    for line_number, line in lines:
        if not line.strip():
            continue
        number += 1
        where = f"{path}, row {number} (line {line_number})"
        fields = line.split("\t")
        if len(fields) != 4:
            raise UserError(
                f"{where}: {len(fields)} columns; expected session, utterance, intent, tagged utterance"
            )
        session, utterance, intent, tagged = fields
        try:
            text, spans = parse_inline(tagged)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if text != utterance:
            raise UserError(
                f"{where}: without its tags {tagged!r} is {text!r}, but the utterance is {utterance!r}"
            )
        tokens, tags = tag_characters(text, spans)
        row = Row(
            {"tokens": tokens, "slots": tags, "intent": intent, "session": session, "text": text},
            where,
        )
        check_characters(row, "text")
        yield row


def parse_inline(tagged: str) -> tuple[str, list[tuple[int, int, str]]]:
    """The utterance without its tags, and (start, end, slot) of each slot.

    Raises:
        UserError: for tags that are nested, not closed, closed twice, or around nothing.
    """
    text, spans, position = "", [], 0
    opened: tuple[str, int] | None = None
    for mark in MARK.finditer(tagged):
        piece = tagged[position : mark.start()]
        position = mark.end()
        closing, name = mark[1], mark[2]
        if closing:
            if opened is None or opened[0] != name:
                raise UserError(f"</{name}> closes nothing in {tagged!r}")
            text += piece.partition(CORRECTION)[0]
            if not text[opened[1] :].strip():
                raise UserError(f"<{name}> holds no text in {tagged!r}")
            spans.append((opened[1], len(text), name))
            opened = None
        elif opened is not None:
            raise UserError(f"<{name}> stands inside <{opened[0]}> in {tagged!r}")
        else:
            text += piece
            opened = (name, len(text))
    if opened is not None:
        raise UserError(f"<{opened[0]}> is never closed in {tagged!r}")
    return text + tagged[position:], spans


def tag_characters(text: str, spans: list[tuple[int, int, str]]) -> tuple[list[str], list[str]]:
    """The characters of a text that are no blanks, and their BIO tags."""
    tags = [OUTSIDE] * len(text)
    for start, end, name in spans:
        inside = [position for position in range(start, end) if not text[position].isspace()]
        for position in inside:
            tags[position] = f"{'B' if position == inside[0] else 'I'}-{name}"
    kept = [
        (character, tag)
        for character, tag in zip(text, tags, strict=True)
        if not character.isspace()
    ]
    return [character for character, _ in kept], [tag for _, tag in kept]
