"""Files of tokenised rows that the next run may take instead of tokenising again.

They are a convenience: one that is damaged, or cannot be written, is dropped with a line, and the rows are made anew.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow
from datasets import Dataset, config

from trainer_ext.files import write_json


def cached(make: Callable[..., Dataset], key: str) -> Dataset:
    """The data set that `make` makes, out of the files for `key` where they are whole.

    Args:
        make: called with options of `Dataset.map` that say where the rows are kept: in files that are there already,
            then it only opens them, in files it writes, or in memory.
        key: of what the rows are a function of.
    """
    place = cache_file(key)
    if place is None:
        return make(keep_in_memory=True)
    try:
        check_sums(place)
        rows = make(cache_file_name=str(place))
        write_sums(place)
        return rows
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        drop(place)
        reason = " ".join(str(error).split())[:200]
        print(f"note: the cache of tokenised rows {place} is left out: {reason}", file=sys.stderr)
    return make(keep_in_memory=True)


def cache_file(key: str) -> Path | None:
    """Where rows with this key are kept; None where nothing can be written."""
    folder = Path(config.HF_DATASETS_CACHE) / "trainer_ext"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder / f"tokens-{key}.arrow" if os.access(folder, os.W_OK) else None


def parts(place: Path) -> list[Path]:
    """The files there are: one, or one for each process that tokenised."""
    return sorted(place.parent.glob(f"{place.stem}*.arrow"))


def sums_of(place: Path) -> dict[str, str]:
    """By file name the sha256 of each part."""
    found = {}
    for path in parts(place):
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        found[path.name] = digest.hexdigest()
    return found


def check_sums(place: Path) -> None:
    """Raise `ValueError` for parts that are not as they were written: a changed byte would be another token."""
    if not parts(place):
        return
    try:
        known = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = None  # a writer was killed, or has not come so far
    if known != sums_of(place):
        raise ValueError("it is damaged")


def write_sums(place: Path) -> None:
    """Keep the sums of parts that are new."""
    if not place.with_suffix(".json").is_file():
        write_json(place.with_suffix(".json"), sums_of(place))


def drop(place: Path) -> None:
    """Remove the files, as far as they can be removed."""
    for path in (place.with_suffix(".json"), *parts(place)):
        with suppress(OSError):
            path.unlink()
