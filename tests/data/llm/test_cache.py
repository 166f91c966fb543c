"""The cache: keys by content, threads, and what a killed process leaves."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.conftest import ROOT
from trainer_ext.data.llm.cache import FILE, Cache, request_key
from trainer_ext.errors import UserError


def test_what_was_put_is_there_for_the_next_process(tmp_path):
    cache = Cache(tmp_path / "new" / "folder")
    assert cache.get("k") is None
    cache.put("k", "好\n\0")
    cache.put("k", "again")
    cache.put("l", "")
    cache.close()
    again = Cache(tmp_path / "new" / "folder")
    assert (again.get("k"), again.get("l"), again.get("m")) == ("again", "", None)


def test_keys_follow_the_content():
    request = {"model": "m", "messages": [{"role": "user", "content": "好"}], "temperature": 0.0}
    assert request_key(request) == request_key(dict(reversed(request.items())))
    for change in ({"model": "n"}, {"messages": []}, {"temperature": 0.1}, {"max_tokens": 5}):
        assert request_key(request | change) != request_key(request)


def test_threads(tmp_path):
    cache = Cache(tmp_path)

    def work(start: int) -> None:
        for k in range(start, start + 25):
            cache.put(str(k), f"reply {k}")
            assert cache.get(str(k)) == f"reply {k}"

    threads = [threading.Thread(target=work, args=(25 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(cache.get(str(k)) == f"reply {k}" for k in range(100))


def test_a_killed_process_leaves_what_it_put(tmp_path):
    code = (
        "import sys, itertools\nfrom trainer_ext.data.llm.cache import Cache\ncache = Cache(sys.argv[1])\n"
        "for k in itertools.count():\n    cache.put(str(k), 'x' * 1000)\n    print(k, flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    seen = [int(process.stdout.readline()) for _ in range(30)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    cache = Cache(tmp_path)
    assert all(cache.get(str(k)) == "x" * 1000 for k in range(seen + 1))


def test_a_file_that_is_no_cache(tmp_path):
    (tmp_path / FILE).write_bytes(b"something else entirely" * 100)
    with pytest.raises(UserError, match="replies.sqlite cannot be used.*--cache_dir"):
        Cache(tmp_path)


def test_damaged_lines_count_as_not_there(tmp_path):
    cache = Cache(tmp_path)
    damaged = {"blob": b"\xff\xfe", "null": None}
    with cache.connection:
        cache.connection.executemany("INSERT INTO replies VALUES (?, ?)", damaged.items())
        cache.connection.execute("INSERT INTO replies VALUES ('text', CAST(x'ff41' AS TEXT))")
    assert [cache.get(key) for key in (*damaged, "text")] == [None] * 3
    cache.put("text", "whole")
    assert cache.get("text") == "whole"


def test_a_cache_that_is_damaged_later(tmp_path):
    cache = Cache(tmp_path)
    with cache.connection:
        cache.connection.executemany(
            "INSERT INTO replies VALUES (?, ?)", [(str(k), "x" * 1000) for k in range(200)]
        )
    cache.close()
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * (path.stat().st_size - 100))
    with pytest.raises(UserError, match="replies.sqlite cannot be used.*--cache_dir"):
        Cache(tmp_path).get("150")
    with pytest.raises(UserError, match="replies.sqlite cannot be used.*--cache_dir"):
        Cache(tmp_path).put("150", "y")
