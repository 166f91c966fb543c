"""Cores this process may use. Imports the standard library only."""

import os
from pathlib import Path


def available_cores() -> int:
    """Return the cores this process may use: its affinity, and the container's CPU quota (cgroup v2 or v1)."""
    cores = cores_of_process()
    quota = cpu_quota()
    if quota is not None:
        cores = min(cores, int(quota))
    return max(1, cores)


def cores_of_process() -> int:
    """Return the cores that the system gives this process, without regard to quotas."""
    # Neither macOS nor Windows has affinities.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: str = "/sys/fs/cgroup") -> float | None:
    """Return the CPUs that the container is limited to, at least 1; None without a limit."""
    found = read_quota(Path(root))
    if found is None:
        return None
    quota, period = found
    if quota in ("max", "-1"):
        return None
    # Half a CPU still takes a thread.
    return max(1.0, float(quota) / float(period))


def read_quota(root: Path) -> tuple[str, str] | None:
    """Return quota and period as cgroup v2 or v1 has them; None without cgroups."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return quota, period
    except (OSError, ValueError):
        pass
    try:
        quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
        period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        return quota, period
    except OSError:
        return None
