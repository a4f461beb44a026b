"""Errors of a sweep: what was wrong, and what to do about it."""

from collections.abc import Iterable

from losses.param import suggest


class SweepError(ValueError):
    """An invalid request about a sweep. ``problem`` says what was wrong, ``fix`` what to do."""

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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return «did you mean 'x'? known: …» for an unknown name."""
    names = sorted(known)
    return f"{suggest(name, names)}known: {', '.join(names) or 'none'}"
