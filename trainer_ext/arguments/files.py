"""How a file is written, if its ending does not say so: the reading flags that all commands inherit."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError, did_you_mean

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "txt")
# What `split` and upload tools put behind a name: `rows.csv.part1.gz`.
PART = re.compile(r"\.part(\d+)(?=$|\.gz$)")
ENCODINGS = ("utf-8", "gb18030", "cp1252", "utf-16", "auto")
# Python reads these as text, but no file is written in them.
ESCAPES = ("unicode-escape", "raw-unicode-escape", "utf-7", "idna", "punycode", "undefined")
DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}
FORMATS_WITH = {
    "delimiter": ("csv", "tsv", "txt"),
    "column_names": ("csv", "tsv", "txt"),
    "quoting": ("csv", "tsv"),
    "encoding": tuple(name for name in FORMATS if name != "parquet"),
}


def ending_of(path: str) -> str:
    """Return the ending before what packing and cutting put behind it: `rows.CSV.part1.gz` -> `csv`."""
    return Path(PART.sub("", path).removesuffix(".gz")).suffix.lstrip(".").lower()


@dataclass
class FileOptions:
    """How files are written, in pandas' names. Each flag is left alone for a file whose ending and header say it."""

    _argument_group_name = "reading files"

    file_format: str = option(
        "auto", "Format of the files; auto: by the ending.", choices=("auto", *FORMATS)
    )
    delimiter: str | None = option(
        None, "Between the fields of csv, tsv and txt: a character, tab, space or semicolon."
    )
    # minimal and none as csv.QUOTE_MINIMAL and csv.QUOTE_NONE, under pandas' name for them.
    quoting: str = option(
        "minimal",
        "csv and tsv; none: quotes are text, a line is a row.",
        choices=("minimal", "none"),
    )
    column_names: list[str] | None = option(
        None, "Columns of csv, tsv and txt without a header row, in order."
    )
    drop_missing: bool = option(
        False, "Skip rows without text or label and list them; by default they are an error."
    )
    encoding: str = option(
        "utf-8",
        "Encoding of text files: utf-8, gb18030, cp1252, utf-16, ..., or auto to detect it.",
    )

    @property
    def separator(self) -> str | None:
        """Return the delimiter as a character, also if it was given by its name."""
        return DELIMITERS.get(self.delimiter or "", self.delimiter)

    def check(self, formats: Sequence[str]) -> None:
        """Refuse settings that none of the files can follow, given their formats.

        Raises:
            UserError: naming the flag, its value and the formats.
        """
        check_encoding(self.encoding)
        for name, possible in FORMATS_WITH.items():
            value = getattr(self, name)
            # One file that takes the flag is enough: a tsv to train on may go with jsonl to validate on.
            fits = not formats or set(possible) & set(formats)
            if value not in (None, "minimal", "utf-8") and not fits:
                raise UserError(
                    f"{name} {value} is for {', '.join(possible)}, but the files are {', '.join(formats)}"
                )
        if self.separator is not None:
            self.check_separator(self.separator)
        names = self.column_names or []
        twice = sorted({repr(name) for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"column_names gives {', '.join(twice)} more than once")

    def check_separator(self, separator: str) -> None:
        """Raise `UserError` for a delimiter that is not one character, or that csv has another use for."""
        if len(separator) != 1:
            raise UserError(
                f"delimiter {self.delimiter!r} is not one character (nor one of {', '.join(DELIMITERS)})"
            )
        if separator in ("\n", "\r", '"'):
            raise UserError(f"delimiter {self.delimiter!r} cannot stand between fields")


def check_encoding(name: str) -> None:
    """Raise `UserError` for an encoding that Python does not read text in."""
    if name == "auto" or is_text_encoding(name):
        return
    near = did_you_mean(name, ENCODINGS)
    raise UserError(
        f"encoding {name!r} is not known{near}; expected {', '.join(ENCODINGS)} or another of Python's"
    )


def is_text_encoding(name: str) -> bool:
    """Tell whether Python reads text in an encoding: base64 and rot13 are codecs, too, but not of text."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    return codec._is_text_encoding and codec.name not in ESCAPES


def file_options(values: object) -> FileOptions:
    """Return the reading flags of an object that holds more than them."""
    return FileOptions(**{spec.name: getattr(values, spec.name) for spec in fields(FileOptions)})
