"""Find what no edit may change or cut.

URLs, e-mail addresses, paths, HTML's tags and entities, @names and #tags (also `#topic#`, as Weibo has them).
"""

import re
from collections.abc import Iterator

from trainer_ext.tasks.words import CHINESE

# Chinese text has no blank before an address, so its characters are not part of one.
LETTER = rf"[^\W{CHINESE}]"
START = rf"(?<![^\W{CHINESE}])(?<![.%+-])"
LABEL = rf"(?:{LETTER}|-){{1,63}}"
# Every repetition is bounded: time must not grow with the square of a word.
HOST = rf"{LABEL}(?:\.{LABEL}){{0,8}}"
# Chinese punctuation ends an address.
CLOSING = "\u2018-\u201d\u2026\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"
# So does a Chinese character, unless it follows a sign that belongs to the address: .../wiki/\u4e2d\u6587
ADDRESS = rf"(?:[^\s<>\"{CLOSING}{CHINESE}]|(?<=[/=_%-])[{CHINESE}]+)"
# Without a path behind it only these end a host: `end.Then` is two sentences.
DOMAINS = "com|org|net|edu|gov|io|cn|uk|de|fr|jp|ru|eu|info|biz|tv|app|ai"
UNIT = re.compile(
    rf"""
      [a-z][a-z0-9+.-]{{0,20}}://{ADDRESS}+                     # https://example.org/page?x=1
    | www\.{ADDRESS}+
    | {START}(?:mailto:)?(?:{LETTER}|[.%+'-]){{1,64}}@{HOST}    # someone@example.org
    | {START}{HOST}\.[a-z]{{1,63}}/{ADDRESS}*                  # example.org/page
    | {START}{HOST}\.(?:{DOMAINS})(?!{LETTER})                 # example.org
    | </?[a-z][^<>]{{0,200}}>                                  # <br />
    | &(?:[a-z]{{2,10}}|\#[0-9]{{1,7}}|\#x[0-9a-f]{{1,6}});       # &amp;
    | (?<!{LETTER})[a-z]:\\[^\s<>"|?*]+                         # C:\\folder\\file.txt
    | (?<![\w.])~?(?:/[\w.-]{{1,64}}){{2,16}}/?                  # /folder/file.txt
    | [@\uff20][\w-]+(?:[.@'\u2019-]\w+)*                     # @name
    | [#\uff03][^#\uff03\s]{{0,64}}?[{CHINESE}][^#\uff03\s]{{0,64}}[#\uff03] # #topic#
    | (?:[#\uff03]\w+(?:['\u2019-]\w+)*)+                     # #tag
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Punctuation at the end of an address is the sentence's.
TRAILING = ".,;:!?'\")]}"


def parts(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the text in pieces, each with whether it is a unit."""
    position = 0
    for match in UNIT.finditer(text):
        unit = match[0]
        # An entity ends with its own semicolon.
        if unit[0] != "&":
            unit = unit.rstrip(TRAILING)
        before = text[position : match.start()]
        if before:
            yield before, False
        yield unit, True
        position = match.start() + len(unit)
    rest = text[position:]
    if rest:
        yield rest, False


def units(text: str) -> list[str]:
    """Return the units of a text, in order."""
    found = []
    for part, is_unit in parts(text):
        if is_unit:
            found.append(part)
    return found
