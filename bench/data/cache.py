"""The cache of large data: rows that were read and rows that were encoded, in folders written whole or not at all.

It lies in ``$XDG_CACHE_HOME/lossbench/data`` (``~/.cache/lossbench/data``), or in the folder that
``LOSSBENCH_DATA_CACHE`` names; with ``LOSSBENCH_DATA_CACHE=off`` in a folder that goes when this process ends. An entry
is named by all that decides its content: the bytes of the files, the options, the tokenizer, and the code here.
"""

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bench.core.artifacts import write_whole
from bench.core.manifest import is_complete, read_manifest
from bench.errors import RunError
from bench.utils.event_log import log_event
from bench.utils.file_lock import only_one
from bench.utils.files import write_text_whole

VARIABLE = "LOSSBENCH_DATA_CACHE"
UNUSED_DAYS = 30
"""Days after which an entry that no command used is removed."""
STAGE = "prepare"


def cached(name: str, key: Iterable[str], write: Callable[[Path], None]) -> Path:
    """Return the folder of an entry, filled by ``write`` where it is not there; another process that wants it waits.

    Args:
        key: everything that decides the content, besides the code.
    """
    root = _root()
    entry = root / _entry_name(name, key)
    with only_one(entry.with_name(f".{entry.name}.lock")):
        if is_complete(entry) and _is_whole(entry):
            log_event("cache_hit", {"cache": "data", "entry": entry.name})
        else:
            started = time.monotonic()
            shutil.rmtree(entry, ignore_errors=True)
            _remove_unused(root)
            write_whole(entry, write, stage=STAGE)
            seconds = round(time.monotonic() - started, 3)
            log_event("cache_built", {"cache": "data", "entry": entry.name, "seconds": seconds})
        with contextlib.suppress(OSError):
            os.utime(entry)
    return entry


def remembered(name: str, key: Iterable[str], compute: Callable[[], str]) -> str:
    """Return a short text of the cache, computed where it is not there.

    Args:
        key: everything that decides it, besides the code.
    """
    path = _root() / f"{_entry_name(name, key)}.txt"
    try:
        text = path.read_text(encoding="utf-8")
        os.utime(path)
    except OSError:
        text = compute()
        write_text_whole(path, text)
    return text


def file_digests(paths: Iterable[Path]) -> list[str]:
    """Return the SHA-256 of each file."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests


@cache
def code_version() -> str:
    """Return a hash of the code that reads and encodes, and of the versions of the libraries that it uses."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(platform.python_version().encode())
    for path in sorted([*(package / "data").rglob("*.py"), package / "core" / "data_options.py"]):
        digest.update(path.name.encode() + path.read_bytes())
    for library in ("pyarrow", "numpy", "tokenizers", "transformers", "jinja2"):
        digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()


def _entry_name(name: str, key: Iterable[str]) -> str:
    digest = hashlib.sha256("\0".join([name, code_version(), *key]).encode())
    return f"{name}-{digest.hexdigest()[:24]}"


def _root() -> Path:
    value = os.environ.get(VARIABLE, "")
    if value.lower() in ("off", "0", "no", "false"):
        return _temporary()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(value) if value else home / "lossbench" / "data"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise PermissionError
    except OSError:  # a home that cannot be written to
        if value:
            raise RunError(f"{VARIABLE}={value} cannot be written", fix="name another folder, or off") from None
        return _temporary()
    return root


@cache
def _temporary() -> Path:
    folder, owner = Path(tempfile.mkdtemp(prefix="lossbench-data-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a fork still reads nothing that its parent removes
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _is_whole(entry: Path) -> bool:
    """Say whether every file is there in its length: a disk that was full, or a hand that removed one, is seen."""
    try:
        files = read_manifest(entry).files
        return all((entry / name).stat().st_size == file.bytes for name, file in files.items())
    except (OSError, RunError):
        return False


def _remove_unused(root: Path) -> None:
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for path in root.iterdir():
        with contextlib.suppress(OSError):
            if path.is_dir() and path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix in (".lock", ".txt") and path.stat().st_mtime < oldest:
                path.unlink()
