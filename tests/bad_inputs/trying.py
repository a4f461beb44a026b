"""Owns trying one bad input: the command line run in this process, and what is wrong with how it was refused."""

import contextlib
import io
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import hypothesis  # noqa: F401  # before a command leaves its filters of warnings: its plugin imports it at the end

from bench.errors import BenchError
from bench.utils.redact import for_terminal

SECONDS = 60.0
"""Longest that anything may take that is refused."""
LONGEST = 4000
"""Characters of the longest message that somebody still reads."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """How an attempt ended. ``code`` is the exit code; ``raised`` what escaped, as a traceback."""

    code: int
    out: str
    err: str
    raised: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input. ``attempt`` gets an empty folder; ``said`` is what the message names of what was given.

    ``codes``: the exit codes that are right, 0 among them where the input may be taken.
    """

    kind: str
    name: str
    attempt: Callable[[Path], Told]
    codes: tuple[int, ...] = (1, 2)
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


class TooLong(BaseException):
    """The time is up. No ``Exception``, so that nothing takes it for a fault of the input."""


def faults(case: Case, folder: Path) -> list[str]:
    """Try a case in an empty folder; return what is wrong with how it was told. Empty: nothing."""
    try:
        with _at_most(SECONDS):
            told = case.attempt(folder)
    except TooLong:
        return [f"took longer than {SECONDS:g} s"]
    found = []
    if told.raised is not None:
        found.append(f"raised {told.raised.strip().splitlines()[-1]}")
    if "Traceback (most recent call last)" in told.err + told.out:
        found.append("shows a traceback")
    if told.code not in case.codes:
        found.append(f"ends with {told.code}; right is {' or '.join(map(str, case.codes))}")
    if "add --debug for the traceback" in told.err:
        found.append(f"is told by the type of an exception: {told.err.strip().splitlines()[0][:200]}")
    if told.code != 0:
        found += _faults_of_message(told.err, case)
    return found + _left_behind(folder)


def bench(*arguments: object) -> Told:
    """Run ``bench ARGUMENTS`` in this process, to its exit code, as a shell would."""
    from bench.cli.entry_point import main

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["bench", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _as_before(),
    ):
        code, raised = _ended(main)
    return Told(code=code, out=out.getvalue(), err=err.getvalue(), raised=raised)


def read(reader: Callable[[], object]) -> Told:
    """Call a reader; what it refuses is told as the command line would."""
    try:
        reader()
    except BenchError as error:
        return Told(code=error.exit_code, out="", err=f"error: {for_terminal(str(error))}")
    except TooLong:
        raise
    except BaseException:
        return Told(code=1, out="", err="error: →", raised=traceback.format_exc())
    return Told(code=0, out="", err="")


def _ended(main: Callable[[], object]) -> tuple[int, str | None]:
    try:
        main()
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else 1), None
    except TooLong:
        raise
    except BaseException:
        return 1, traceback.format_exc()
    return 0, None


def _faults_of_message(text: str, case: Case) -> list[str]:
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
    found = []
    # click's own messages for options say what is wrong and name --help
    if "→" not in bare and "Usage:" not in bare and "Try 'bench" not in bare:
        found.append(f"does not say what to do: {bare.strip()[:200]!r}")
    if len(bare) > LONGEST:
        found.append(f"is told in {len(bare)} characters")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", bare):
        found.append(f"writes control characters to the terminal: {bare[:120]!r}")
    found += [f"does not name {word!r}: {bare.strip()[:300]!r}" for word in case.said if word not in _unwrapped(bare)]
    return found


def _unwrapped(text: str) -> str:
    """As it was before click's box broke its lines."""
    return text + re.sub(r"\s*│\n│\s*", " ", text) + re.sub(r"\s*│\n│\s*", "", text)


def _left_behind(folder: Path) -> list[str]:
    """What lies in the results folder that is neither whole nor a file that the case put there itself."""
    results = folder / "out"
    if not results.is_dir():
        return []
    found = []
    for path in sorted(results.rglob("*")):
        whole = any((parent / "manifest.json").is_file() for parent in (path, *path.parents))
        if path.is_file() and not whole and path.name != "journal.log":
            found.append(f"leaves {path.relative_to(results)} behind")
    return found


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Give back what a command sets for its whole process: threads, the route of products, warnings, the environment."""
    import os

    import torch

    threads, environment = torch.get_num_threads(), dict(os.environ)
    with warnings.catch_warnings():
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            os.environ.clear()
            os.environ.update(environment)
