"""Faults of a sweep, each told as one message: what was given, what would be right, what to do."""

import difflib
from collections.abc import Iterable


class SweepError(ValueError):
    """A request about a sweep that cannot be right. ``problem`` says what was given, ``fix`` what to do."""

    def __init__(self, problem: str, *, fix: str) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(f"{problem}\n  → {fix}")


class SweepSyntaxError(SweepError):
    """The text of a sweep does not read as axes."""


class StudyError(SweepError):
    """A study or its storage cannot be opened, or was made on other terms."""


class StorageAwayError(StudyError):
    """A study's storage did not answer for longer than anybody should wait. What was finished is kept."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return «did you mean 'x'? known: …» for an unknown name."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
