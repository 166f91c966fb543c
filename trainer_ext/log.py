"""The one configuration of logging: log records go to standard error as plain lines.

Library code logs through `logging.getLogger(__name__)`. `errors.run_main` calls `configure` for every command; a
notebook does not, so that only warnings show there. Imports the standard library only.
"""

import logging
import sys

LEVELS = ("debug", "info", "warning", "error")
PACKAGE = "trainer_ext"


class StderrHandler(logging.StreamHandler):
    """Write to whatever `sys.stderr` is when a line is written: tests and notebooks replace it."""

    def __init__(self) -> None:
        # Not `StreamHandler.__init__`, which would keep the stream of this moment.
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


class PlainFormatter(logging.Formatter):
    """Notes as they are; a warning or an error begins with its level."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno <= logging.INFO:
            return text
        return f"{record.levelname.lower()}: {text}"


def configure(level: str = "info") -> None:
    """Send the package's log records of at least `level` to standard error.

    Raises:
        ValueError: for a level that is not one of `LEVELS`.
    """
    if level not in LEVELS:
        raise ValueError(f"log_level {level} is not one of {', '.join(LEVELS)}")
    logger = logging.getLogger(PACKAGE)
    logger.setLevel(level.upper())
    # onnxruntime's quantiser gives the root logger a handler, which would print every line a second time.
    logger.propagate = False
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        handler = StderrHandler()
        handler.setFormatter(PlainFormatter())
        logger.addHandler(handler)
