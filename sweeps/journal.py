"""Journal file that several machines append to: one writer at a time, and no line that is half there."""

import fcntl
import json
import os
import time
from collections.abc import Generator
from pathlib import Path

from optuna.storages.journal import JournalFileBackend

_POLL_SECONDS = 0.02
_STOPPED_SECONDS = 30.0
"""After so long without a new line, whoever holds the lock was stopped in the middle of a write."""


class SharedJournal(JournalFileBackend):
    """A journal file whose writers exclude each other by ``flock`` on the file itself.

    Optuna's own locks are files that a killed process leaves behind: everybody waits for half a minute then, and under
    a relative path for ever. This lock the system gives back. A line that a killed writer or a full disk left half
    written is cut off by the next writer; Optuna's backend would append to it, and nobody could read on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        super().__init__(str(self._path))

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Append one line for each log, all of them or none, and wait until they are on the disk."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            alone = _lock(descriptor)
            end = _mended(descriptor) if alone else os.fstat(descriptor).st_size
            try:
                written = os.write(descriptor, lines)
                if written < len(lines):
                    raise OSError(f"{self._path}: {written} of {len(lines)} bytes were written")
                os.fsync(descriptor)
            except OSError:
                if alone:
                    os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, object], None, None]:
        """Read the lines from a number on. Raises OSError where one does not read: it may be on its way."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise OSError(f"{self._path}: a line does not read: {error}") from error


def _lock(descriptor: int) -> bool:
    """Take the lock; False where its holder has written nothing for so long that it must have been stopped."""
    size, since = -1, time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            now, length = time.monotonic(), os.fstat(descriptor).st_size
            if length != size:
                size, since = length, now
            elif now - since > _STOPPED_SECONDS:
                return False
        time.sleep(_POLL_SECONDS * (0.05 + os.getpid() % 16 / 16))


def _mended(descriptor: int) -> int:
    """Cut off what follows the last whole line; return the size of the file."""
    end = os.fstat(descriptor).st_size
    kept = end
    while kept:
        start = max(0, kept - 4096)
        newline = os.pread(descriptor, kept - start, start).rfind(b"\n")
        kept = start + newline + 1
        if newline >= 0:
            break
    if kept < end:
        os.ftruncate(descriptor, kept)
    return kept
