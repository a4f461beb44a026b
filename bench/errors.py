"""Owns the two errors that a user sees: what was given, what would be right, what to do."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A fault told to the user as one message. ``exit_code`` 1: the run failed; 2: the request was wrong."""

    exit_code = 1

    def __init__(self, problem: str, *, fix: str | None = None) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(problem if fix is None else f"{problem}\n  → {fix}")


class RunError(BenchError):
    """Something failed while running: a full disk, a corrupted file, a gate that did not hold."""

    exit_code = 1


class UsageError(BenchError):
    """The request itself cannot be right: an unknown name, a value out of range, an unreadable file."""

    exit_code = 2


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return «did you mean 'x'? known: …» for an unknown name."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
