"""Waiting for a storage that is away: which calls are made again, for how long, and what is reported."""

import functools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import optuna
from optuna.storages import BaseStorage

from sweeps.errors import StorageAwayError

Result = TypeVar("Result")

PATIENCE_SECONDS = 300.0
"""A database that is restarted, or moved to another host, is back by then."""
HURRY_SECONDS = 3.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_NOTE_AFTER = 5.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a storage may be away: ``seconds`` in a sweep, ``opening`` before its first answer.

    ``note`` gets one message when the storage has been away for a few seconds, and one when it is back. Once
    ``should_stop`` returns True, no call waits any longer.
    """

    seconds: float = PATIENCE_SECONDS
    opening: float = 10.0
    note: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False


def insist(
    call: Callable[[], Result],
    *,
    name: str,
    is_outage: Callable[[Exception], bool],
    patience: Patience,
    seconds: float | None = None,
) -> Result:
    """Return what ``call`` returns; where the storage is away, call again until it answers.

    A call may be made twice although the first one reached the storage, if only the answer was lost.

    Args:
        name: of the storage, without a password.
        seconds: instead of the patience's own.

    Raises:
        StorageAwayError: it was away for longer than that. Whatever else ``call`` raises goes up at once.
    """
    limit = patience.seconds if seconds is None else seconds
    draw = random.SystemRandom()
    away_since: float | None = None
    pause, noted = _FIRST_PAUSE, False
    while True:
        try:
            answer = call()
        except Exception as error:
            if not is_outage(error):
                raise
            now = time.monotonic()
            away_since = away_since or now
            if now - away_since >= limit or patience.should_stop():
                raise StorageAwayError(
                    f"storage {name} has not answered for {now - away_since:.0f} s: {_reason(error)}",
                    fix="finished work is kept: the same command goes on once the storage answers",
                ) from None
            if not noted and now - away_since >= _NOTE_AFTER:
                patience.note(f"storage {name} does not answer; trying again for {limit:.0f} s")
                noted = True
            # Different from worker to worker, so that they do not all come back at one moment.
            time.sleep(min(pause * draw.uniform(0.5, 1.5), max(0.01, away_since + limit - now)))
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        if noted:
            patience.note(f"storage {name} answers again")
        return answer


def _reason(error: BaseException) -> str:
    """Return the innermost cause in one line: Optuna itself reports only that a commit failed."""
    while isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


class _Waiting(BaseStorage):
    """What ``PatientStorage`` adds to a storage: the storage below it, and how a call waits."""

    def __init__(
        self, once: BaseStorage, *, name: str, is_outage: Callable[[Exception], bool], patience: Patience
    ) -> None:
        self.once = once
        self.name = name
        self._is_outage = is_outage
        self._patience = patience

    def remove_session(self) -> None:
        """End this thread's session, without waiting (see ``BaseStorage``)."""
        self.once.remove_session()


def _patiently(method: str) -> Callable[..., object]:
    """Return the method of that name that calls the one of the storage below until it answers."""

    @functools.wraps(getattr(BaseStorage, method))
    def call(self: _Waiting, *args: object, **kwargs: object) -> object:
        attempt = functools.partial(getattr(self.once, method), *args, **kwargs)
        return insist(attempt, name=self.name, is_outage=self._is_outage, patience=self._patience)

    # ``wraps`` copies the mark of an abstract method too.
    call.__isabstractmethod__ = False  # type: ignore[attr-defined]
    return call


_CALLS = (*sorted(BaseStorage.__abstractmethods__), "get_trial_id_from_study_id_trial_number")
"""What every storage implements, and one call that storages answer without reading all trials."""
_Patient = type("_Patient", (_Waiting,), {method: _patiently(method) for method in _CALLS})


class PatientStorage(_Patient):  # type: ignore[misc, valid-type]
    """A storage whose every call waits out an outage; ``once`` is the storage below, which fails at once.

    Where only the answer of a call was lost, the call is made twice. So a trial may be created twice, with the same
    attributes (see ``sweeps.claims``), and a trial that this very call finished is found finished, which raises.
    """

    def hurried(self) -> "PatientStorage":
        """Return the same storage with patience for a few seconds only, for a process that is about to exit."""
        short = Patience(seconds=HURRY_SECONDS, opening=HURRY_SECONDS)
        return PatientStorage(self.once, name=self.name, is_outage=self._is_outage, patience=short)
