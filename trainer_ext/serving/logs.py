"""The server's log: one JSON object a line on standard error, without the texts unless they are asked for."""

import json
import logging
from datetime import datetime, timezone

from trainer_ext.log import PACKAGE, StderrHandler

FIELDS = "fields"  # the attribute of a record with what else its line holds


class JsonFormatter(logging.Formatter):
    """Write a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        written = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": written.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_as_json() -> None:
    """Let the package's log, and uvicorn's warnings, be JSON."""
    formatter = JsonFormatter()
    package = logging.getLogger(PACKAGE)
    for handler in package.handlers:
        if isinstance(handler, StderrHandler):
            handler.setFormatter(formatter)
            logging.getLogger("uvicorn.error").handlers = [handler]
    server = logging.getLogger("uvicorn.error")
    server.setLevel(logging.WARNING)
    server.propagate = False
