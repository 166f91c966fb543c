"""Which memory moves to large pages."""

import re
from pathlib import Path

import numpy as np
import pytest

from trainer_ext.inference import huge_pages
from trainer_ext.inference.huge_pages import NewMemory, anonymous_regions, new_regions

MB = 1 << 20


@pytest.mark.parametrize(
    "before, after, expected",
    [
        ([], [(10, 20)], [(10, 20)]),
        ([(10, 20)], [(10, 20)], []),
        ([(10, 20)], [(10, 25)], [(20, 25)]),  # grown
        ([(10, 20)], [(5, 25)], [(5, 10), (20, 25)]),
        ([(10, 20), (30, 40)], [(0, 50)], [(0, 10), (20, 30), (40, 50)]),
        ([(10, 20)], [(12, 15)], []),  # shrunk
        ([(10, 20)], [(20, 30)], [(20, 30)]),  # touching
        ([(10, 20), (50, 60)], [(15, 22), (60, 70)], [(20, 22), (60, 70)]),
    ],
)
def test_new_regions(before, after, expected):
    assert new_regions(before, after) == expected


def test_only_anonymous_writable_memory_counts(monkeypatch, tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/python\n"
        "00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
        "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n"
        "7f0001000000-7f0001200000 rw-p 00001000 08:02 17  /usr/lib/libc.so\n"
        "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0   [stack]\n"
        "7f0002000000-7f0002100000 ---p 00000000 00:00 0 \n"
    )
    monkeypatch.setattr(huge_pages, "MAPS", maps)
    assert anonymous_regions() == [
        (0x00E03000, 0x00E24000),
        (0x7F0000000000, 0x7F0000400000),
    ]


def test_only_whole_pages_are_asked_for(monkeypatch):
    calls = []

    class Library:
        def __init__(self, name):
            def madvise(*args):
                calls.append(args)

            self.madvise = madvise

    monkeypatch.setattr(huge_pages.ctypes, "CDLL", Library)
    huge_pages.advise((MB, 7 * MB))
    assert calls == [
        (2 * MB, 4 * MB, huge_pages.MADV_HUGEPAGE),
        (2 * MB, 2 * MB, huge_pages.MADV_COLLAPSE),
        (4 * MB, 2 * MB, huge_pages.MADV_COLLAPSE),
    ]
    calls.clear()
    huge_pages.advise((MB, 3 * MB))  # no whole page between
    assert calls == []


def test_a_system_without_large_pages_is_left_alone(monkeypatch, tmp_path):
    setting = tmp_path / "enabled"
    monkeypatch.setattr(huge_pages, "SETTING", setting)
    assert not huge_pages.is_allowed()
    setting.write_text("always madvise [never]\n")
    assert not huge_pages.is_allowed()
    setting.write_text("always [madvise] never\n")
    assert huge_pages.is_allowed()


def huge_kilobytes() -> int:
    """What of this process lies on large pages."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"AnonHugePages:\s+(\d+)", text)[1])


@pytest.mark.skipif(not huge_pages.is_allowed(), reason="this system has no large pages")
def test_new_memory_moves_and_keeps_its_content():
    memory = NewMemory()
    before = huge_kilobytes()
    array = np.arange(8 * MB, dtype=np.int32)  # 32 MB
    memory.use_huge_pages()
    if huge_kilobytes() == before:
        pytest.skip("this system had no free large page")
    assert huge_kilobytes() - before >= 2048
    assert (array == np.arange(8 * MB, dtype=np.int32)).all()
