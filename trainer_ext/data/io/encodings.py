"""Detect the encoding of a text file that is not in UTF-8."""

import codecs
from typing import BinaryIO

SAMPLE = 1 << 18  # bytes
LINE = 1 << 16
# Encodings in use, in the order in which one is taken if the bytes alone do not tell (as in short texts).
CANDIDATES = (
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
    "cp1255",
    "cp1256",
)
# UTF-32 before UTF-16: the little-endian mark of the one begins with that of the other.
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_BE: "utf-16",
}
# How files begin that are not text, whatever they are called.
BINARY = {
    b"PAR1": "a parquet file: --file_format parquet reads it",
    b"PK\x03\x04": "a zip or Excel file: save its table as csv",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save its table as csv",
    b"\x1f\x8b": "a gzip file: its name must end with .gz",
}


def sample_of(file: BinaryIO) -> bytes:
    """Return the first line of a file, and those of its other lines that are not ASCII, up to `SAMPLE` bytes.

    Lines of ASCII say nothing about the encoding, so they do not use up the sample.
    """
    sample = file.readline(LINE)
    while len(sample) < SAMPLE:
        line = file.readline(LINE)
        if not line:
            break
        # Zero bytes are ASCII, but tell of UTF-16 and UTF-32.
        if not line.isascii() or b"\0" in line:
            sample += line
    return sample


def detect_encoding(sample: bytes) -> str | None:
    """Return the probable encoding of a text of which some bytes are given; None if it is not text that we know."""
    for mark, name in MARKS.items():
        if sample.startswith(mark):
            return name
    utf16 = detect_utf16(sample)
    if utf16:
        return utf16
    if b"\0" in sample:
        return None
    if is_utf8(sample):
        return "utf-8"
    return detect_legacy(sample)


def binary_kind(sample: bytes) -> str | None:
    """Return what a file is that begins with some bytes, and how to read it; None if it may be text."""
    for start, kind in BINARY.items():
        if sample.startswith(start):
            return kind
    return None


def detect_legacy(sample: bytes) -> str | None:
    """Return the best of `CANDIDATES`; None if the bytes fit none of them."""
    from charset_normalizer import from_bytes  # slow to import, and rarely needed

    found = []
    for match in from_bytes(sample, cp_isolation=list(CANDIDATES)):
        for name in match.could_be_from_charset:
            if name in CANDIDATES:
                rank = CANDIDATES.index(name)
                found.append((match.percent_chaos, -match.percent_coherence, rank, name))
    if not found:
        return None
    return min(found)[-1]


def detect_utf16(sample: bytes) -> str | None:
    """Return UTF-16's name with its byte order, or None: of its ASCII characters every second byte is zero."""
    if len(sample) < 4:
        return None
    low_zeros = sample[:1000:2].count(0)
    high_zeros = sample[1:1000:2].count(0)
    characters = len(sample[1:1000:2])
    if max(low_zeros, high_zeros) < 0.3 * characters:
        return None
    if high_zeros > low_zeros:
        return "utf-16-le"
    return "utf-16-be"


def is_utf8(sample: bytes) -> bool:
    """Return whether bytes are UTF-8; the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return True
    except UnicodeDecodeError:
        return False


def codec_name(name: str) -> str:
    """Return Python's name of an encoding; UTF-8 with and without a mark are read alike."""
    if codecs.lookup(name).name in ("utf-8", "utf-8-sig"):
        return "utf-8-sig"
    return name
