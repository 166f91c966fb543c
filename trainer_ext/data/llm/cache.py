"""Replies by the content of their request, in one SQLite file: what was answered is never asked again.

Every reply is committed by itself, so a process that is killed loses only the requests under way.
"""

import hashlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError

FILE = "replies.sqlite"


class Cache:
    """Replies in `folder/replies.sqlite`; may be used from several threads and processes."""

    def __init__(self, folder: str | Path):
        self.path = Path(folder) / FILE
        self.lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
            with self.connection:
                self.connection.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)")
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"the cache {self.path} cannot be used: {error}; name another --cache_dir") from error

    def get(self, key: str) -> str | None:
        """The reply to a request, or None when there is none yet."""
        with self.lock:
            row = self.connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, key: str, reply: str) -> None:
        """Keep a reply; it is on the disk when this returns."""
        with self.lock, self.connection:
            self.connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def request_key(request: dict[str, Any]) -> str:
    """sha256 over all that decides the answer: model, messages, parameters, schema; not the address, not the key."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
