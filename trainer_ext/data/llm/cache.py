"""Keep replies by the content of their request in one SQLite file, so that what was answered is never asked again.

Only replies with a valid answer are kept, and what is damaged counts as missing: the row is asked for again.
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
    """Replies in `folder/replies.sqlite`; may be used from several threads and processes.

    Raises:
        UserError: if the file cannot be made, or is not such a file.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder) / FILE
        self.lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for all threads, under the lock; the timeout is for other processes.
            self.connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
            # A damaged text would otherwise fail inside sqlite3, as if the whole file were damaged.
            self.connection.text_factory = bytes
            with self.connection:
                self.connection.execute(
                    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)"
                )
        except (OSError, sqlite3.Error) as error:
            raise self.unusable(error) from error

    def get(self, key: str) -> str | None:
        """Return the reply to a request, or None if there is none yet.

        Raises:
            UserError: if the file cannot be read any more.
        """
        try:
            with self.lock:
                rows = self.connection.execute("SELECT reply FROM replies WHERE key = ?", (key,))
                row = rows.fetchone()
        except sqlite3.Error as error:
            raise self.unusable(error) from error
        if row is None:
            return None
        try:
            return row[0].decode("utf-8")
        except (AttributeError, UnicodeDecodeError):  # NULL, or damaged
            return None

    def put(self, key: str, reply: str) -> None:
        """Keep a reply; it is on the disk when this returns.

        Raises:
            UserError: if the file cannot be written any more.
        """
        try:
            # Committed one by one, so that a process that is killed loses only the requests under way.
            with self.lock, self.connection:
                self.connection.execute(
                    "INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply)
                )
        except sqlite3.Error as error:
            raise self.unusable(error) from error

    def unusable(self, error: Exception) -> UserError:
        """Return the error for a cache that fails."""
        return UserError(f"the cache {self.path} cannot be used: {error}; name another --cache_dir")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def request_key(request: dict[str, Any]) -> str:
    """Return the sha256 of all that decides the answer: model, messages, parameters, schema.

    The address and the key do not count: the same model answers alike behind another one.
    """
    content = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()
