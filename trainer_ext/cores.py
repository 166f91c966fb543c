"""Cores this process may use. Imports the standard library only."""

import os
from pathlib import Path


def available_cores() -> int:
    """Cores this process may use: its affinity, and the container's CPU quota (cgroup v2 or v1), at least 1."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(cores, int(cpu_quota() or cores)))


def cpu_quota(root: str = "/sys/fs/cgroup") -> float | None:
    """CPUs the container is limited to, or None without a limit."""
    try:
        quota, period = Path(root, "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = Path(root, "cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path(root, "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in ("max", "-1") else max(1.0, float(quota) / float(period))
