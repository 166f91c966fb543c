"""Which encoding a text file is probably in, where it is not UTF-8."""

import codecs
from typing import BinaryIO

LOOKED_AT = 1 << 18  # bytes; of lines that are all ASCII none count, since they say nothing
LINE = 1 << 16
# Those in use, in the order in which one is taken when the bytes alone do not tell (as in short texts).
CANDIDATES = (
    *(
        "gb18030",
        "cp1252",
        "big5",
        "shift_jis",
        "euc_kr",
        "euc_jp",
        "cp1251",
        "koi8_r",
        "cp1250",
        "cp1254",
        "cp1253",
    ),
    *("cp1255", "cp1256"),
)
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16"}
MARKS |= {codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_BE: "utf-16"}


def guess(file: BinaryIO) -> str | None:
    """The probable encoding of what is in a file of bytes; None when it is no text that we know."""
    return guess_bytes(telling_bytes(file))


def telling_bytes(file: BinaryIO) -> bytes:
    """The start of a file, and those of its lines that are not ASCII, up to a limit."""
    sample = file.readline(LINE)
    while len(sample) < LOOKED_AT and (line := file.readline(LINE)):
        if not line.isascii() or b"\0" in line:
            sample += line
    return sample


def guess_bytes(sample: bytes) -> str | None:
    """The same of some bytes."""
    for mark, name in MARKS.items():
        if sample.startswith(mark):
            return name
    wide = sixteen_bits(sample)
    if wide:
        return wide
    if b"\0" in sample:
        return None
    if is_utf8(sample):
        return "utf-8"
    from charset_normalizer import from_bytes

    found = [
        (match.percent_chaos, -match.percent_coherence, CANDIDATES.index(name), name)
        for match in from_bytes(sample, cp_isolation=list(CANDIDATES))
        for name in match.could_be_from_charset
        if name in CANDIDATES
    ]
    return min(found)[-1] if found else None


def sixteen_bits(sample: bytes) -> str | None:
    """UTF-16 without a mark: every second byte of ASCII characters is zero."""
    low, high = sample[:1000:2], sample[1:1000:2]
    if len(sample) < 4 or max(low.count(0), high.count(0)) < 0.3 * len(high):
        return None
    return "utf-16-le" if high.count(0) > low.count(0) else "utf-16-be"


def is_utf8(sample: bytes) -> bool:
    """Whether bytes are UTF-8, of which the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return True
    except UnicodeDecodeError:
        return False


def codec(name: str) -> str:
    """What Python calls an encoding; UTF-8 with or without a mark is one."""
    return "utf-8-sig" if codecs.lookup(name).name in ("utf-8", "utf-8-sig") else name
