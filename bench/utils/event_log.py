"""A command's log: JSON lines in ``results/logs``, from the parent, its workers and its ranks, in one file."""

import json
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from bench.utils.redact import redact, redact_values

FOLDER = "logs"
VARIABLE = "LOSSBENCH_LOG"
"""Where spawned workers and ranks find the log of the command that started them."""
EVENTS = "bench.events"
OURS = ("bench", "sweeps", "losses")
LIMIT_BYTES = 32_000_000
"""Of one command's log; beyond it only warnings are written, and beyond twice as much nothing."""
KEPT = 200
"""Logs of as many commands are kept."""
NOTHING: Mapping[str, object] = MappingProxyType({})
_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=NOTHING)


def log_event(
    event: str, fields: Mapping[str, object] = NOTHING, *, message: str = "", level: int = logging.INFO
) -> None:
    """Write an event into the log; nothing happens where no command keeps one.

    Args:
        event: its name, in snake case.
        fields: plain values; times are seconds.
    """
    logger = logging.getLogger(EVENTS)
    if logger.handlers:
        logger.log(level, message, extra={"event": event, "fields": {**_bound.get(), **fields}})


@contextmanager
def bound(fields: Mapping[str, object]) -> Iterator[None]:
    """Add ``fields`` to every event of the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


@contextmanager
def stage(name: str, fields: Mapping[str, object] = NOTHING) -> Iterator[None]:
    """Log when a stage of a run began and ended, with its seconds, and how it ended."""
    log_event("stage_started", {"stage": name, **fields})
    started = time.monotonic()
    ended, level, error = "stage_ended", logging.INFO, {}
    try:
        yield
    except BaseException as raised:
        ended, level, error = "stage_broken_off", logging.WARNING, {"error": _named(raised)}
        raise
    finally:
        seconds = round(time.monotonic() - started, 4)
        log_event(ended, {"stage": name, **fields, "seconds": seconds, **error}, level=level)


@contextmanager
def command_log(results: Path, command: str, *, arguments: Sequence[str], make: bool = False) -> Iterator[None]:
    """Keep a log of a command, with its arguments (secrets removed), seconds and end.

    A folder that is not there, or cannot be written, gets no log: that is not what the command fails of.

    Args:
        make: whether a log is kept, and the folder made, also where no run lies in it yet.
    """
    path = _new_log(results, command, make=make)
    if path is None or not _attach(path):
        yield
        return
    os.environ[VARIABLE] = str(path)
    started, error = time.monotonic(), None
    log_event("command_started", {"command": command, "arguments": list(arguments), "folder": str(results)})
    try:
        yield
    except BaseException as raised:
        error = _named(raised)
        raise
    finally:
        fields = {"command": command, "seconds": round(time.monotonic() - started, 3), "error": error}
        log_event("command_ended", fields, level=logging.INFO if error is None else logging.ERROR)
        os.environ.pop(VARIABLE, None)
        _detach()


def join_log() -> None:
    """Write into the log of the command that started this process, where it keeps one. Forked processes do already."""
    path = os.environ.get(VARIABLE)
    if path and not logging.getLogger(EVENTS).handlers:
        _attach(Path(path))


def line_of(record: logging.LogRecord) -> str:
    """Return a log record as one line of JSON: time (UTC), level, event, worker, then its fields and message."""
    fields = getattr(record, "fields", NOTHING)
    row: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "event": getattr(record, "event", "message"),
        "worker": f"{platform.node()}:{os.getpid()}",
    }
    row |= {name: value for name, value in fields.items() if value is not None}
    if text := record.getMessage():
        row["message"] = text
    if record.exc_info and record.exc_info[1] is not None:
        row["error"] = _named(record.exc_info[1])
    return json.dumps(redact_values(row), ensure_ascii=False)


class _Appender(logging.Handler):
    """Appends each record by one call of the system, so that lines of several processes never mix."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def emit(self, record: logging.LogRecord) -> None:
        # A full disk, or a value that has no JSON, must not end a training: its log is the lesser loss.
        with suppress(OSError, ValueError, TypeError):
            size = os.fstat(self._file).st_size
            if size < (LIMIT_BYTES if record.levelno < logging.WARNING else 2 * LIMIT_BYTES):
                os.write(self._file, f"{line_of(record)}\n".encode("utf-8", "replace"))

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._file)
        super().close()


def _new_log(results: Path, command: str, *, make: bool) -> Path | None:
    folder = results / FOLDER
    # A folder of published results stays as it was published.
    if not make and not (results / "runs").is_dir():
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in old[: max(0, len(old) - KEPT + 1)]:
            path.unlink(missing_ok=True)
    except OSError:
        return None
    return folder / f"{command}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.jsonl"


def _attach(path: Path) -> bool:
    try:
        handler = _Appender(path)
    except OSError:
        return False
    events = logging.getLogger(EVENTS)
    events.setLevel(logging.INFO)
    events.propagate = False
    events.addHandler(handler)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        # What a logger without handlers shows on the terminal, it goes on showing.
        if logging.lastResort is not None and not logging.getLogger().handlers:
            logger.addHandler(logging.lastResort)
    return True


def _detach() -> None:
    for name in (EVENTS, *OURS):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, _Appender) or handler is logging.lastResort:
                logger.removeHandler(handler)
                if isinstance(handler, _Appender) and name == OURS[-1]:
                    handler.close()


def _named(error: BaseException) -> str:
    return redact(f"{type(error).__name__}: {error}".strip().removesuffix(":"))
