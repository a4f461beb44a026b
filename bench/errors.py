"""The two errors that a user sees: what was given, what would be right, what to do."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A fault that the user sees as one message. ``exit_code`` 1: the run failed; 2: the request was wrong."""

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


INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped."""

LONGEST = 1000
"""Most characters of a line of a message that are printed: a quoted input may be of any length."""

MOST_LINES = 60
"""Most lines of a message that are printed."""

CONTROL_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}


def escape_unprintable(name: str) -> str:
    """Return a name as it may stand in a table: what cannot be seen, or turns the text round, as its escape."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)


FEW = 24
"""Most names that an error message lists."""


def did_you_mean(name: str, known: Iterable[str], *, listed_by: str | None = None) -> str:
    """Return «did you mean 'x' or 'y'? known: …» for an unknown name.

    Args:
        listed_by: the command that lists the names, which is named instead of them where they are many.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    if listed_by is not None and len(names) > FEW:
        return f"{hint}`{listed_by}` lists all {len(names)}"
    return f"{hint}known: {', '.join(names)}"
