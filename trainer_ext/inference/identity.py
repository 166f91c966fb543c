"""What decides on the answers of a run: who goes on with an interrupted one has to have the same."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainer_ext.data.io.open import parts_of
from trainer_ext.files import file_sha256
from trainer_ext.inference.predictor import Predictor


def answers_identity(
    predictor: Predictor,
    source: str,
    sample: str | None,
    form: dict[str, Any],
) -> dict[str, Any]:
    """Return what decides on every byte of the answers, by name.

    Args:
        predictor: answers.
        source: file of rows.
        sample: submission whose columns the answers have.
        form: flags that shape the answers, by name.
    """
    samples = [Path(sample)] if sample else []
    return {
        "input": files_sha256(map(Path, parts_of(source))),
        "sample submission": files_sha256(samples),
        "model": files_sha256(predictor.files),
        "task": predictor.task.name,
        # The same files may run elsewhere, or another one of a folder: the numbers would differ in the last digits.
        "what runs": predictor.description,
        "weights": predictor.weights,
        "rows in a window": predictor.window_size,
        **form,
    }


def files_sha256(paths: Iterable[Path]) -> str:
    """Return the hash of the contents of files, wherever they lie."""
    digest = hashlib.sha256()
    for path in paths:
        # A hash each: bytes that move from the end of one file to the start of the next are a change.
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()
