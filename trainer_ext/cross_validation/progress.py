"""How far all folds or seeds are, as one table in the log of the command that trains them."""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainer_ext.cross_validation.launchers.base import PROGRESS_FILE
from trainer_ext.cross_validation.members import members_in
from trainer_ext.errors import RunError
from trainer_ext.tables import table

INTERVAL = 60.0  # seconds between two tables

logger = logging.getLogger(__name__)


@contextmanager
def shown_progress(
    folder: Path,
    names: Sequence[str],
    refresh: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Log a table now and then while the block runs, if it has changed.

    Args:
        folder: of all models.
        names: of their folders.
        refresh: brings the files here that are looked at, if they are elsewhere.
    """
    done = threading.Event()

    def show() -> None:
        before = ""
        while not done.wait(INTERVAL):
            if refresh:
                # A table may be late; it ends nothing.
                with suppress(RunError):
                    refresh()
            now = progress_table(folder, names)
            if now != before:
                logger.info("\n%s\n", now)
            before = now

    watcher = threading.Thread(target=show, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def progress_table(folder: Path, names: Sequence[str]) -> str:
    """Return a row for each model: whether it trains, its step, and the loss of its last evaluation."""
    rows = []
    for name in models_of(folder, names):
        lines = read_progress(folder / name / PROGRESS_FILE)
        if (folder / name / "metrics.json").exists():
            rows.append([name, "finished", "", ""])
        elif not lines:
            rows.append([name, "waiting", "", ""])
        else:
            last = lines[-1]
            loss = last["metrics"].get("eval_loss", "")
            rows.append([name, "training", f"{last['step']} of {last['steps']}", loss])
    return table(rows, ["model", "state", "step", "eval_loss"])


def models_of(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the models behind the names: a run of a sweep may have folds or seeds, in folders of their own."""
    models = []
    for name in names:
        members = members_in(folder / name)
        models += [str(member.relative_to(folder)) for member in members] or [name]
    return models


def read_progress(path: Path) -> list[dict[str, Any]]:
    """Return the lines that a training has added to its file so far; none before it begins."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    # What follows the last line break is still being written.
    complete = text.splitlines()[: text.count("\n")]
    return [json.loads(line) for line in complete]
