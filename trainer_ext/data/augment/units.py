"""What no edit may change or cut: URLs, e-mail addresses, @names and #tags (also `#topic#`, as Weibo has them)."""

import re
from collections.abc import Iterator

from trainer_ext.tasks.words import CHINESE

LETTER = rf"[^\W{CHINESE}]"  # Chinese text has no blank before an address
START = rf"(?<![^\W{CHINESE}])(?<![.%+-])"
LABEL = rf"(?:{LETTER}|-){{1,63}}"
HOST = rf"{LABEL}(?:\.{LABEL}){{0,8}}"  # every repetition is bounded: time must not grow with the square of a word
CLOSING = "\u2018-\u201d\u2026\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"  # Chinese punctuation, which ends an address
# So does a Chinese character, unless it stands right behind a sign that belongs to the address: .../wiki/\u4e2d\u6587
ADDRESS = rf"(?:[^\s<>\"{CLOSING}{CHINESE}]|(?<=[/=_%-])[{CHINESE}]+)"
DOMAINS = "com|org|net|edu|gov|io|cn|uk|de|fr|jp|ru|eu|info|biz|tv|app|ai"
UNIT = re.compile(
    rf"""
      [a-z][a-z0-9+.-]{{0,20}}://{ADDRESS}+                     # https://example.org/page?x=1
    | www\.{ADDRESS}+
    | {START}(?:mailto:)?(?:{LETTER}|[.%+'-]){{1,64}}@{HOST}    # someone@example.org
    | {START}{HOST}\.[a-z]{{1,63}}/{ADDRESS}*                  # example.org/page
    | {START}{HOST}\.(?:{DOMAINS})(?!{LETTER})                 # example.org
    | [@\uff20][\w-]+(?:[.@'\u2019-]\w+)*                     # @name
    | [#\uff03][^#\uff03\s]{{0,64}}?[{CHINESE}][^#\uff03\s]{{0,64}}[#\uff03] # #topic#
    | (?:[#\uff03]\w+(?:['\u2019-]\w+)*)+                     # #tag
    """,
    re.IGNORECASE | re.VERBOSE,
)
BEHIND = ".,;:!?'\")]}"  # punctuation at the end of an address is the sentence's


def parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is a unit."""
    position = 0
    for match in UNIT.finditer(text):
        unit = match[0].rstrip(BEHIND)
        if text[position : match.start()]:
            yield text[position : match.start()], False
        yield unit, True
        position = match.start() + len(unit)
    if text[position:]:
        yield text[position:], False


def units(text: str) -> list[str]:
    """The units of a text, in order."""
    return [part for part, is_unit in parts(text) if is_unit]
