"""What becomes of a row that cannot be read: it ends the reading, or it is handed over and left out."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trainer_ext.errors import UserError

Reject = Callable[[UserError], None]
"""Is handed the error about a row, whose message begins with its place."""


@contextmanager
def rejecting(reject: Reject | None) -> Iterator[None]:
    """Hand a `UserError` of the block to `reject`; without one it is raised."""
    try:
        yield
    except UserError as error:
        if reject is None:
            raise
        reject(error)


def rejected_record(path: str, error: UserError) -> dict[str, Any]:
    """Return file, row and reason of what could not be read; the row is None if it is the file.

    Args:
        path: of the file.
        error: about a row: `rows.csv, row 3 (line 9): 4 fields where the header has 5`.
    """
    message = str(error).removeprefix(path)
    found = re.match(r", row (\d+)(?: \(line \d+\))?: ", message)
    if found is None:
        return {"file": path, "row": None, "reason": message.removeprefix(": ")}
    return {"file": path, "row": int(found[1]), "reason": message[found.end() :]}
