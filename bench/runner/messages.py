"""Messages of a worker process to its parent: progress, notes, spans of work, opened studies, a fatal error."""

from dataclasses import dataclass

from bench.runner.scheduler import Retry


@dataclass(frozen=True, kw_only=True)
class Advance:
    """Units of work that are done, and in a few words what is going on."""

    units: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """A line for the user."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """A line that every worker finds out by itself, once for the user, and the units of work that it added."""

    text: str
    units: int


@dataclass(frozen=True, kw_only=True)
class Span:
    """When a worker was at a piece of work: its process, and seconds of the machine's monotonic clock."""

    worker: int
    started: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The studies are open: which failed trials are tried again, and whether everything is there already."""

    retry: Retry
    done: bool


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The error that ended a worker; ``usage``: a ``UsageError``, else a ``RunError``."""

    usage: bool
    problem: str
    fix: str | None


Message = Advance | Note | Milestone | Span | Opened | Failure
