"""Answers by the content of their request, in one SQLite file: what was answered is never asked again.

Only replies that were accepted are kept, so that a bad one is not met again; what is damaged counts as not there.

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
            self.connection.text_factory = bytes
            with self.connection:
                self.connection.execute(
                    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)"
                )
        except (OSError, sqlite3.Error) as error:
            raise self.unusable(error) from error

    def get(self, key: str) -> str | None:
        """The reply to a request, or None when there is none yet.

        Raises:
            UserError: when the file cannot be read any more.
        """
        try:
            with self.lock:
                row = self.connection.execute(
                    "SELECT reply FROM replies WHERE key = ?", (key,)
                ).fetchone()
            return row[0].decode("utf-8") if row else None
        except (AttributeError, UnicodeDecodeError):  # no text, or damaged
            return None
        except sqlite3.Error as error:
            raise self.unusable(error) from error

    def put(self, key: str, reply: str) -> None:
        """Keep a reply; it is on the disk when this returns.

        Raises:
            UserError: when the file cannot be written any more.
        """
        try:
            with self.lock, self.connection:
                self.connection.execute(
                    "INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply)
                )
        except sqlite3.Error as error:
            raise self.unusable(error) from error

    def unusable(self, error: Exception) -> UserError:
        """What to say of a cache that fails."""
        return UserError(f"the cache {self.path} cannot be used: {error}; name another --cache_dir")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def request_key(request: dict[str, Any]) -> str:
    """sha256 over all that decides the answer: model, messages, parameters, schema; not the address, not the key."""
    return hashlib.sha256(
        json.dumps(request, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()
