"""Who holds a trial: a worker's identity, the heartbeat that keeps its lease, and when the lease is over."""

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from sweeps.patience import PatientStorage

WORKER = "worker"
BEAT = "beat"
MISSED_BEATS = 3


@dataclass
class Watch:
    """A lease that seems over: its last beat, when that was looked at, and for how many seconds it has stood still."""

    beat: float
    looked: float
    seconds: float = 0.0


def worker_id() -> str:
    """Return ``host:pid:start``: this process, told apart from a later one that gets the same pid.

    Where Linux tells them, the host carries its boot and its process namespace, so that two containers of one
    name are two hosts.
    """
    return f"{_host()}:{os.getpid()}:{_process(os.getpid())}"


def beat_seconds(lease_seconds: float) -> float:
    """Return the time between two heartbeats: several fit into one lease, and none floods the storage."""
    return min(lease_seconds / 5, 5.0)


def is_stale(trial: FrozenTrial, watches: dict[int, Watch], *, now: float, moment: float, lease_seconds: float) -> bool:
    """Say whether the worker of a running trial is gone: its process on this host, or its heartbeat on any.

    A heartbeat that is too old by the clock is watched for a few beats more. No worker could beat while the storage
    was away, and each has to be given the time to do so again; and a clock that goes wrong ends nobody's lease.

    Args:
        watches: what this worker watches, by number of the trial. Between two looks at most one beat's time counts.
        now: seconds since the epoch. moment: of the monotonic clock.
    """
    if is_gone(trial.user_attrs[WORKER]):
        return True
    beat = trial.user_attrs[BEAT]
    if now - beat <= lease_seconds:
        watches.pop(trial.number, None)
        return False
    every = beat_seconds(lease_seconds)
    watch = watches.get(trial.number)
    if watch is None or watch.beat != beat:
        watches[trial.number] = Watch(beat, moment)
        return False
    watch.seconds += min(moment - watch.looked, every)
    watch.looked = moment
    return watch.seconds >= MISSED_BEATS * every


@contextmanager
def heartbeat(storage: BaseStorage, trial_id: int, *, lease_seconds: float) -> Iterator[None]:
    """Keep the lease of a running trial from a thread of its own, for as long as the body runs."""
    stop = threading.Event()
    every = beat_seconds(lease_seconds)
    # A beat is never made up for: where the storage is away, the next one is soon enough.
    once = storage.once if isinstance(storage, PatientStorage) else storage
    thread = threading.Thread(target=_beat, args=(once, trial_id, stop, every), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        # A beat that hangs does no harm: what it writes to is finished, or its own trial.
        thread.join(every)


def _beat(storage: BaseStorage, trial_id: int, stop: threading.Event, every: float) -> None:
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
