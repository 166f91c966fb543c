"""How a file is written, where its ending does not say so: the reading flags that every script shares.

`DataArguments` inherits them, the light scripts add them to their own parser. Imports nothing but the error type.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError, did_you_mean

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "txt")
PART = re.compile(r"\.part(\d+)(?=$|\.gz$)")
ENCODINGS = ("utf-8", "gb18030", "cp1252", "utf-16", "auto")
ESCAPES = (
    "unicode-escape",
    "raw-unicode-escape",
    "utf-7",
    "idna",
    "punycode",
    "undefined",
)  # of no file
DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}


def ending_of(path: str) -> str:
    """The ending before what packing and cutting put behind it: `rows.CSV.part1.gz` -> `csv`."""
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
    quoting: str = option(
        "minimal",
        "csv and tsv; none: quotes are text, a line is a row.",
        choices=("minimal", "none"),
    )
    column_names: list[str] | None = option(
        None, "Columns of csv, tsv and txt without a header row, in order."
    )
    drop_missing: bool = option(
        False, "Leave out rows without text or label (named on the screen); else they are refused."
    )
    encoding: str = option(
        "utf-8",
        "Of text files: utf-8, gb18030, cp1252, utf-16, ... or auto, which looks at the bytes.",
    )

    @property
    def separator(self) -> str | None:
        """The delimiter as a character, also where it was given by its name."""
        return DELIMITERS.get(self.delimiter or "", self.delimiter)

    def check(self, formats: Sequence[str]) -> None:
        """Refuse settings that none of the files can follow, given their formats.

        Raises:
            UserError: naming the flag, its value and the formats.
        """
        takers = {
            "delimiter": ("csv", "tsv", "txt"),
            "column_names": ("csv", "tsv", "txt"),
            "quoting": ("csv", "tsv"),
        }
        takers["encoding"] = tuple(name for name in FORMATS if name != "parquet")
        check_encoding(self.encoding)
        for name, possible in takers.items():
            value = getattr(self, name)
            if (
                value not in (None, "minimal", "utf-8")
                and formats
                and not set(possible) & set(formats)
            ):
                raise UserError(
                    f"{name} {value} is for {', '.join(possible)}, but the files are {', '.join(formats)}"
                )
        if self.delimiter is not None and len(self.separator) != 1:
            raise UserError(
                f"delimiter {self.delimiter!r} is not one character (nor one of {', '.join(DELIMITERS)})"
            )
        if self.separator in ("\n", "\r", '"'):
            raise UserError(f"delimiter {self.delimiter!r} cannot stand between fields")
        twice = {name for name in self.column_names or () if self.column_names.count(name) > 1}
        if twice:
            raise UserError(
                f"column_names gives {', '.join(sorted(map(repr, twice)))} more than once"
            )


def check_encoding(name: str) -> None:
    """Raise `UserError` for an encoding that Python does not read text in."""
    try:
        known = name == "auto" or (
            codecs.lookup(name)._is_text_encoding and codecs.lookup(name).name not in ESCAPES
        )
    except (LookupError, ValueError):
        known = False
    if not known:
        near = did_you_mean(name, ENCODINGS)
        raise UserError(
            f"encoding {name!r} is not known{near}; expected {', '.join(ENCODINGS)} or another of Python's"
        )


def file_options(values: object) -> FileOptions:
    """The reading flags out of parsed arguments that hold more than them."""
    return FileOptions(**{spec.name: getattr(values, spec.name) for spec in fields(FileOptions)})
