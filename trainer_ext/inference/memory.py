"""Whether several models fit into memory together."""

from contextlib import suppress
from pathlib import Path

from trainer_ext.inference.layout import HUB_FOLDERS

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def model_size(folder: Path, file_name: str | None) -> int:
    """Return the bytes of a model's largest file, which is about what it takes in memory.

    Args:
        folder: of the model.
        file_name: the file that is run; None: whichever is largest.
    """
    largest = 0
    for place in (folder, *(folder / below for below in HUB_FOLDERS)):
        for file in place.glob(file_name or "model*"):
            if file.is_file():
                largest = max(largest, file.stat().st_size)
    return largest


def free_memory() -> float:
    """Return the bytes this process may still take: what the system has available, within the container's limit."""
    return min(available_in_system(), available_in_container())


def available_in_system() -> float:
    """Return MemAvailable in bytes; infinity if the system does not tell (not Linux)."""
    with suppress(OSError):
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable"):
                return 1024 * int(line.split()[1])
    return float("inf")


def available_in_container() -> float:
    """Return what a cgroup v2 limit leaves, in bytes; infinity without a limit."""
    # ValueError: the limit is the word "max".
    with suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        return limit - used
    return float("inf")
