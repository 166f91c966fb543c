"""Read intent and slot files. Every row has `tokens`, `slots` (a tag a token) and `intent`.

Formats:
    jsonl, parquet:  columns of these names;
    token per line:  `token tag` (one blank or tab between), after the last token a line with the intent alone, then an
                     empty line (SNIPS and ATIS as published with Stack-Propagation, SMP's merge files). If there is a
                     FILE.intent beside FILE, the intents are its lines, one for each row, and FILE has none (CAIS).
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
from typing import NamedTuple

from trainer_ext.arguments.files import FileOptions, ending_of
from trainer_ext.data.io.open import open_text, reading_errors, row_place
from trainer_ext.data.io.readers import DEFAULTS, Row, check_characters, read_rows
from trainer_ext.errors import UserError, errors_at
from trainer_ext.tasks.entities import OUTSIDE, check_tag

MARK = re.compile(r"<(/?)([A-Za-z_][\w.-]*)>")
CORRECTION = "||"
INLINE_TABS = 3  # between the four columns of a line with inline tags
LONGEST_RECORD = 1000  # lines that are read to tell whether a file holds tokens and tags
Lines = Iterator[tuple[int, str]]  # their numbers, and the lines without their ends


class Span(NamedTuple):
    """A slot in a text: character offsets, end exclusive, and its name."""

    start: int
    end: int
    slot: str

    def overlaps(self, other: "Span") -> bool:
        """Return whether two slots share a character."""
        return self.start < other.end and other.start < self.end


def read_slot_file(
    path: str,
    options: FileOptions = DEFAULTS,
    intents_inside: bool = True,
) -> Iterator[Row]:
    """Yield every row of a labelled file, in order.

    Args:
        path: the file.
        options: may say that it is jsonl or parquet.
        intents_inside: whether token lines without a file of intents have them; rows to predict need none.

    Raises:
        UserError: for a file that cannot be read or a malformed row, with file, row, line and value.
    """
    kind = options.file_format
    if kind == "auto":
        kind = ending_of(path)
    if kind in ("jsonl", "parquet"):
        yield from read_rows(path, options=options)
        return
    with reading_errors(path, options.encoding), open_text(path, "\n", options.encoding) as file:
        lines = from_first_text(numbered(file))
        first = next(lines, None)
        if first is None:
            return
        lines = chain([first], lines)
        if first[1].count("\t") == INLINE_TABS:
            yield from read_inline(path, lines)
        # A file of intents beside it decides, since a sentence without its intent looks like one with it.
        elif Path(intent_path(path)).is_file():
            rows = read_token_lines(path, lines, intents_inside=False)
            yield from with_intents(rows, intent_path(path), options.encoding)
        else:
            yield from read_token_lines(path, lines, intents_inside)


def numbered(file: Iterable[str]) -> Lines:
    """Yield the number of each line, and the line without its end."""
    for number, line in enumerate(file, 1):
        yield number, line.rstrip("\r\n")


def from_first_text(lines: Lines) -> Lines:
    """Yield the lines from the first one that is not blank."""
    for number, line in lines:
        if line.strip():
            yield number, line
            break
    yield from lines


def intent_path(path: str) -> str:
    """Return where the intents of a file without intents are."""
    return path.removesuffix(".gz") + ".intent"


def with_intents(rows: Iterator[Row], path: str, encoding: str) -> Iterator[Row]:
    """Yield the rows with the intents of another file, which is read along with them."""
    with reading_errors(path, encoding), open_text(path, "\n", encoding) as file:
        yield from join_intents(rows, path, file)


def detect_intents(path: str, options: FileOptions = DEFAULTS) -> bool | None:
    """Tell by its first record whether a text file holds tokens and tags instead of a text a line, and has intents.

    Returns:
        Whether it has intents (in it or beside it); None if it does not hold tokens and tags.
    """
    record = first_record(path, options)
    if record and record[0].count("\t") == INLINE_TABS:
        # Any text may be written in four columns; the last one repeats the second only where tags are inside.
        if is_inline(record[0]):
            return True
        return None
    if len(record) < 2 or not all(map(is_tagged, record[:-1])):
        return None
    last = record[-1]
    if is_tagged(last):
        return Path(intent_path(path)).is_file()
    # An intent is one word: `token tag` lines followed by several are perhaps texts of two words.
    if len(last.split()) == 1:
        return True
    return None


def first_record(path: str, options: FileOptions) -> list[str]:
    """Return the lines up to the first blank one, at most `LONGEST_RECORD`; those before the first text are skipped."""
    record: list[str] = []
    with reading_errors(path, options.encoding), open_text(path, "\n", options.encoding) as file:
        for _, line in from_first_text(numbered(file)):
            if not line.strip() or len(record) == LONGEST_RECORD:
                break
            record.append(line)
    return record


def split_tagged(line: str) -> tuple[str, str] | None:
    """Return token and tag of a line, or None if it has no tag.

    A tab parts them if there is one: then the token may hold blanks.
    """
    expected = " "
    if "\t" in line:
        expected = "\t"
    token, separator, tag = line.rpartition(expected)
    if not separator or not tag:
        return None
    return token, tag


def is_tagged(line: str) -> bool:
    """Return whether a line is `token tag`."""
    tagged = split_tagged(line)
    if tagged is None:
        return False
    try:
        return bool(check_tag(tagged[1]))
    except UserError:
        return False


def is_inline(line: str) -> bool:
    """Return whether a line of four columns has its utterance in the last one again, with tags."""
    _, utterance, _, tagged = line.split("\t")
    try:
        return parse_inline(tagged)[0] == utterance
    except UserError:
        return False


class Sentence:
    """The tokens and tags of one row, as its lines are read."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.tags: list[str] = []

    def add(self, where: str, token: str, tag: str) -> None:
        """Add a token.

        Raises:
            UserError: with the place, for a malformed tag, and for an empty token inside a slot.
        """
        with errors_at(where):
            check_tag(tag)
        if token.strip():
            self.tokens.append(token)
            self.tags.append(tag)
        elif tag[0] in "BES":
            # Without it the slot would have no beginning, or no end.
            raise UserError(f"{where}: the token before the tag {tag!r} is empty")

    def row(self, where: str, intent: str | None = None) -> Row:
        """Return the row."""
        values: dict[str, list[str] | str] = {"tokens": self.tokens, "slots": self.tags}
        if intent is not None:
            values["intent"] = intent
        return Row(values, where)


def read_token_lines(path: str, lines: Lines, intents_inside: bool = True) -> Iterator[Row]:
    """Yield the rows of `token tag` lines.

    A row ends with a line that holds the intent alone, or with a blank line if intents are not in the file.

    Raises:
        UserError: with file, row and line, for a row that is not so.
    """
    sentence = Sentence()
    number = 1
    line_number = 0
    for line_number, line in lines:
        where = row_place(path, number, line_number)
        tagged = split_tagged(line)
        if tagged is not None:
            sentence.add(where, *tagged)
            continue
        intent = None
        if line.strip():
            intent = line
        check_end(where, sentence, intent, intents_inside)
        if sentence.tokens:
            yield sentence.row(where, intent)
            sentence = Sentence()
            number += 1
    if sentence.tokens:
        where = row_place(path, number, line_number)
        if intents_inside:
            raise UserError(f"{where}: the file ends before the row's intent")
        yield sentence.row(where)


def check_end(where: str, sentence: Sentence, intent: str | None, intents_inside: bool) -> None:
    """Raise `UserError` if a row cannot end with this intent, or without one."""
    if intent is not None and not intents_inside:
        raise UserError(f"{where}: {intent!r} has no tag, and the intents are in another file")
    if intent is not None and not sentence.tokens:
        raise UserError(f"{where}: the intent {intent!r} follows no tokens")
    if intent is None and sentence.tokens and intents_inside:
        last = sentence.tokens[-1]
        raise UserError(
            f"{where}: an empty line, but no line with the intent after the token {last!r}"
        )


def join_intents(rows: Iterator[Row], intent_path: str, lines: Iterable[str]) -> Iterator[Row]:
    """Yield the rows with the intents of another file, one a line.

    Raises:
        UserError: if there are more rows than intents, or fewer.
    """
    intents = (line.strip() for line in lines if line.strip())
    # Whichever of the two files ends first, the other one's next record names the place.
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


def read_inline(path: str, lines: Lines) -> Iterator[Row]:
    """Yield the rows of tab-separated sessions with tags inside the fourth column.

    Raises:
        UserError: with file, row and line, for a line that is not so.
    """
    number = 0
    for line_number, line in lines:
        if not line.strip():
            continue
        number += 1
        where = row_place(path, number, line_number)
        fields = line.split("\t")
        if len(fields) != INLINE_TABS + 1:
            raise UserError(
                f"{where}: {len(fields)} columns; expected session, utterance, intent, tagged utterance"
            )
        session, utterance, intent, tagged = fields
        with errors_at(where):
            text, spans = parse_inline(tagged)
        if text != utterance:
            raise UserError(
                f"{where}: without its tags {tagged!r} is {text!r}, but the utterance is {utterance!r}"
            )
        tokens, tags = tag_characters(text, spans)
        values = {
            "tokens": tokens,
            "slots": tags,
            "intent": intent,
            "session": session,
            "text": text,
        }
        row = Row(values, where)
        check_characters(row, "text")
        yield row


def parse_inline(tagged: str) -> tuple[str, list[Span]]:
    """Return the utterance without its tags, and its slots.

    Raises:
        UserError: for tags that are nested, not closed, closed twice, or around nothing.
    """
    text = ""
    spans = []
    position = 0
    opened: tuple[str, int] | None = None
    for mark in MARK.finditer(tagged):
        piece = tagged[position : mark.start()]
        position = mark.end()
        closing, name = mark[1], mark[2]
        if not closing:
            if opened is not None:
                raise UserError(f"<{name}> stands inside <{opened[0]}> in {tagged!r}")
            text += piece
            opened = (name, len(text))
            continue
        if opened is None or opened[0] != name:
            raise UserError(f"</{name}> closes nothing in {tagged!r}")
        # Of a value and its correction the first stands in the utterance.
        text += piece.partition(CORRECTION)[0]
        start = opened[1]
        if not text[start:].strip():
            raise UserError(f"<{name}> holds no text in {tagged!r}")
        spans.append(Span(start, len(text), name))
        opened = None
    if opened is not None:
        raise UserError(f"<{opened[0]}> is never closed in {tagged!r}")
    return text + tagged[position:], spans


def tag_characters(text: str, spans: Iterable[Span]) -> tuple[list[str], list[str]]:
    """Return the characters of a text that are not whitespace, and their BIO tags."""
    tags = [OUTSIDE] * len(text)
    for start, end, slot in spans:
        # A slot may begin with whitespace, which has no tag: the first character that is left gets the B.
        prefix = "B"
        for position in range(start, end):
            if not text[position].isspace():
                tags[position] = f"{prefix}-{slot}"
                prefix = "I"
    characters = []
    kept_tags = []
    for character, tag in zip(text, tags, strict=True):
        if not character.isspace():
            characters.append(character)
            kept_tags.append(tag)
    return characters, kept_tags
