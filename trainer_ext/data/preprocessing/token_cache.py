"""Cache files of tokenised rows, which the next run takes instead of tokenising again.

They are a convenience: if one is damaged or cannot be written, a note says so and the rows are tokenised again.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow
from datasets import Dataset, config

from trainer_ext.errors import describe_error
from trainer_ext.files import write_json

logger = logging.getLogger(__name__)


def cached(make: Callable[..., Dataset], key: str) -> Dataset:
    """Return the data set that `make` makes, from the cache files for `key` if they are intact.

    Args:
        make: called with options of `Dataset.map` that say where the rows are kept: in files that exist, which it only
            opens, in files it writes, or in memory.
        key: of what the rows are a function of.
    """
    path = cache_file(key)
    if path is None:
        return make(keep_in_memory=True)
    try:
        check_sums(path)
        rows = make(cache_file_name=str(path))
        write_sums(path)
        return rows
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        remove(path)
        logger.info(
            "the cache of tokenised rows %s is left out: %s", path, describe_error(error, 200)
        )
    return make(keep_in_memory=True)


def cache_file(key: str) -> Path | None:
    """Return where rows with this key are kept; None if nothing can be written there."""
    folder = Path(config.HF_DATASETS_CACHE) / "trainer_ext"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    return folder / f"tokens-{key}.arrow"


def parts_of(path: Path) -> list[Path]:
    """Return the files that exist: one, or one for each process that tokenised."""
    return sorted(path.parent.glob(f"{path.stem}*.arrow"))


def sums_of(path: Path) -> dict[str, str]:
    """Return the sha256 of each part by file name."""
    sums = {}
    for part in parts_of(path):
        digest = hashlib.sha256()
        with open(part, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        sums[part.name] = digest.hexdigest()
    return sums


def check_sums(path: Path) -> None:
    """Raise `ValueError` if parts are not as they were written: a changed byte would be another token."""
    if not parts_of(path):
        return
    try:
        known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        # The sums are written last: whoever wrote the parts was killed, or is still writing.
        known = None
    if known != sums_of(path):
        raise ValueError("it is damaged")


def write_sums(path: Path) -> None:
    """Keep the sums of parts that are new."""
    sums = path.with_suffix(".json")
    if not sums.is_file():
        write_json(sums, sums_of(path))


def remove(path: Path) -> None:
    """Remove the files, as far as they can be removed."""
    for file in (path.with_suffix(".json"), *parts_of(path)):
        with suppress(OSError):
            file.unlink()
