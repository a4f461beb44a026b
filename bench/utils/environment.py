"""Provenance: versions, machine, commit. Nothing here enters a key."""

import functools
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

PACKAGES = ("lossbench", "torch", "transformers", "accelerate", "peft", "optuna", "lm_eval", "alpaca_eval", "numpy")


@functools.cache
def environment() -> dict[str, object]:
    """Versions of what computed a record, and the machine's shape."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _version(name: str) -> str | None:
    from importlib import metadata  # 30 ms, which `bench --help` need not spend

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


STORAGE = "LOSSBENCH_STORAGE"
"""May hold the storage, so that a password is neither typed nor written into scripts."""
