"""Texts without labels on which INT8 is compared with float as well: what labelled rows are too few to show.

Those of --unlabelled_file, else of the training file that the checkpoint records.
"""

import logging
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from trainer_ext.arguments.files import FileOptions
from trainer_ext.errors import UserError
from trainer_ext.export.eval_rows import recorded_config, recorded_files, recorded_path
from trainer_ext.export.options import ExportOptions
from trainer_ext.inference import Predictor
from trainer_ext.inference.job import find_columns, rows_of

# With none of so many answers changed, at most 0.3% of all are.
MOST_TEXTS = 1000
# Files may be sorted: the texts are taken at even distances from so many rows.
READ = 20 * MOST_TEXTS

logger = logging.getLogger(__name__)


class Texts(NamedTuple):
    """Texts (for `joint` lists of tokens), and what a report calls them."""

    texts: list[Any]
    source: str


def unlabelled_texts(
    options: ExportOptions,
    predictor: Predictor,
    evaluated: Sequence[Any],
) -> Texts | None:
    """Return texts that are not among the evaluation rows; None if there are none.

    Args:
        options: of the export.
        predictor: tells how rows are read.
        evaluated: the texts of the evaluation rows.

    Raises:
        UserError: if --unlabelled_file cannot be read, or is empty.
    """
    if options.unlabelled_file:
        path = options.unlabelled_file
        texts = read_texts(path, options.files, predictor)
        if not texts:
            raise UserError(f"{path} is empty: it has no rows")
        return other_texts(texts, evaluated, f"texts of {Path(path).name}")
    config = recorded_config(options.model)
    if not config.get("train_file"):
        return None
    try:
        path = str(recorded_path(options.model, config, "train_file"))
        texts = read_texts(path, recorded_files(config), predictor, labelled=True)
    except UserError as error:
        # Nobody has asked for these texts: the labelled rows decide alone.
        logger.debug("not compared on training texts: %s", error)
        return None
    return other_texts(texts, evaluated, "training texts")


def read_texts(
    path: str,
    files: FileOptions,
    predictor: Predictor,
    labelled: bool = False,
) -> list[Any]:
    """Return texts at even distances from the first rows of a file.

    Args:
        path: of the file.
        files: how it is written.
        predictor: tells which column is the text.
        labelled: whether the file is known to have labels, as a training file has.
    """
    rows = rows_of(predictor, None, path, labelled=labelled, options=files)
    first = next(rows, None)
    if first is None:
        return []
    columns = find_columns(first, predictor, None, None, ())
    found = []
    for row in islice(chain([first], rows), READ):
        text = columns.model_input(row)
        if text:
            found.append(text)
    return evenly_spaced(found, MOST_TEXTS)


def evenly_spaced(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` items at even distances, or all if they are fewer."""
    step = max(1, len(items) // count)
    return list(items[::step][:count])


def other_texts(texts: Sequence[Any], evaluated: Sequence[Any], source: str) -> Texts | None:
    """Return those that are not evaluated already, each once; None if there are none."""
    seen = {repr(text) for text in evaluated}
    others = []
    for text in texts:
        # Lists of tokens cannot be members of a set.
        key = repr(text)
        if key not in seen:
            seen.add(key)
            others.append(text)
    if not others:
        return None
    return Texts(others, source)
