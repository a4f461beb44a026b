"""Owns who holds a trial: a worker's identity, the heartbeat that keeps its lease, and when the lease is over."""

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

WORKER = "worker"
BEAT = "beat"


def worker_id() -> str:
    """Return ``host:pid:start``: this process, told apart from a later one that gets the same pid.

    Where Linux tells them, the host carries its boot and its process namespace, so that two containers of one
    name are two hosts.
    """
    return f"{_host()}:{os.getpid()}:{_process(os.getpid())}"


def beat_seconds(lease_seconds: float) -> float:
    """Return the time between two heartbeats: several fit into one lease, and none floods the storage."""
    return min(lease_seconds / 5, 5.0)


def is_stale(trial: FrozenTrial, *, now: float, lease_seconds: float) -> bool:
    """Say whether the worker of a running trial is gone: its process on this host, or its heartbeat on any.

    ``now``: seconds since the epoch. Hosts that share a study need clocks that agree to within the lease.
    """
    if is_gone(trial.user_attrs[WORKER]):
        return True
    return now - trial.user_attrs[BEAT] > lease_seconds


@contextmanager
def heartbeat(storage: optuna.storages.BaseStorage, trial_id: int, *, lease_seconds: float) -> Iterator[None]:
    """Keep the lease of a running trial from a thread of its own, for as long as the body runs."""
    stop = threading.Event()
    every = beat_seconds(lease_seconds)
    thread = threading.Thread(target=_beat, args=(storage, trial_id, stop, every), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(storage: optuna.storages.BaseStorage, trial_id: int, stop: threading.Event, every: float) -> None:
    while not stop.wait(every):
        try:
            storage.set_trial_user_attr(trial_id, BEAT, time.time())
        except optuna.exceptions.UpdateFinishedTrialError:
            return
        # A storage that is away for a moment must not end the lease: the next beat may reach it.
        except Exception:
            continue


def _host() -> str:
    boot = _first_line("/proc/sys/kernel/random/boot_id")[:8]
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    return "/".join(part for part in (platform.node() or "localhost", boot, namespace) if part)


def is_gone(worker: str) -> bool:
    """Say whether the process of a ``worker_id`` is known to be gone; of another host's nothing is known."""
    host, pid, start = worker.rsplit(":", 2)
    return host == _host() and _process(int(pid)) not in (start, "unknown")


def _process(pid: int) -> str:
    """Return when a process started, in the system's own count; "gone"; or "unknown" where neither can be told."""
    # The name, in brackets, may hold blanks: state is the 1st field after it, start time the 20th (proc(5)).
    fields = _first_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if fields:
        return "gone" if fields[0] in "ZX" else fields[19]
    # On Windows this call would end the process instead of asking after it.
    if os.name != "posix":
        return "unknown"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "unknown"


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        return ""
