"""Files written whole or not at all, and clear names for disk errors."""

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import BenchError, RunError, UsageError


def writable(results: Path) -> None:
    """Refuse an output folder that cannot be written before anything is computed."""
    _check_name(results)
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe = results / f".write-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"results folder {results} cannot be written: {error.strerror}",
            fix="free space, mend its permissions, or give another: --out",
        ) from error


def could_be_written(results: Path) -> None:
    """Refuse an output folder that is here and cannot be written, and make none: a plan may be made elsewhere.

    Raises:
        UsageError: its name. RunError: it is no folder, or may not be written to.
    """
    _check_name(results)
    try:
        there = results.exists()
    except OSError as error:
        raise RunError(
            f"results folder {results} cannot be written: {error.strerror}", fix="give another: --out"
        ) from error
    nearest = next((folder for folder in (results, *results.absolute().parents) if folder.exists()), results)
    if there and not os.access(results, os.W_OK | os.X_OK):
        raise RunError(
            f"results folder {results} cannot be written", fix="mend its permissions, or give another: --out"
        )
    if not nearest.is_dir():
        raise RunError(f"results folder {results} cannot be written: {nearest} is no folder", fix="give another: --out")


def _check_name(results: Path) -> None:
    if not str(results).isprintable():
        raise UsageError(f"the results folder's name must be printable (got {str(results)!r})", fix="--out results")


REASONS = {
    errno.ENOSPC: ("no space is left on the disk", "free some space, or write to another disk; finished work is kept"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or write to another disk; finished work is kept"),
    errno.EROFS: ("the file system is read-only", "choose a results folder that can be written to"),
    errno.EACCES: ("permission was denied", "check the owner and the mode of the folder"),
    errno.EPERM: ("permission was denied", "check the owner and the mode of the folder"),
}


@contextmanager
def naming_disk_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an ``OSError`` into a ``RunError`` that says what was being done to which path, and why it failed."""
    try:
        yield
    except OSError as error:
        where = path if error.filename is None or not str(error.filename).startswith(str(path)) else error.filename
        raise _named(error, error.errno, where, doing) from error
    except BenchError:
        raise
    except Exception as error:
        # safetensors and tokenizers write in Rust: their errors have the system's number in the text alone.
        match = re.search(r"(?:os error|code:) (\d+)", str(error))
        if match is None:
            raise
        raise _named(error, int(match[1]), path, doing) from error


def _named(error: Exception, number: int | None, where: object, doing: str) -> RunError:
    message = getattr(error, "strerror", None) or str(error)
    reason, fix = REASONS.get(number or 0, (message, "check the path, and the disk under it"))
    return RunError(f"cannot {doing} {where}: {reason}", fix=fix)


def write_text_whole(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8, line ends kept) whole or not at all. Raises RunError (full disk, permission, …)."""
    write_bytes_whole(path, text.encode())


def write_bytes_whole(path: Path, content: bytes) -> None:
    """Write ``content`` whole or not at all: a synced temporary sibling, then a rename. Raises RunError."""
    temporary = sibling_of(path)
    with naming_disk_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def sibling_of(path: Path) -> Path:
    """Return a new hidden name beside ``path``, on the same file system, so that a rename is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def sync(path: Path) -> None:
    """Wait until what was written to ``path`` (a file or a folder) is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
