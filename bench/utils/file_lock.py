"""Locks between processes of one machine: files that a killed process gives back."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

PAUSE_SECONDS = 0.1


@contextlib.contextmanager
def only_one(lock: Path, *, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let one process at a time into the block; the file goes when the last one leaves.

    Args:
        waits: called before each pause while another process is in; what it raises ends the waiting.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    while (handle := _taken(lock)) is None:
        waits()
        time.sleep(PAUSE_SECONDS)
    with handle:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _taken(lock: Path) -> IO[str] | None:
    """Take a lock, None where another process has it. The file may have been removed since it was opened."""
    handle = lock.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle.fileno()).st_ino == lock.stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    handle.close()
    return None
