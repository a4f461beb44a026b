"""Number of cores that this process may use."""

import math
import os
from pathlib import Path


def available_cores() -> int:
    """Return the cores of this process's affinity, at most its control group's quota; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _quota(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no control group, or «max»: no quota
        return None
