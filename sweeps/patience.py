"""Waiting for a storage that is away: which storage calls are made again, how long, and what is told of it."""

import random
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.errors import StorageAwayError

Result = TypeVar("Result")

PATIENCE_SECONDS = 300.0
"""A database that is restarted, or moved to another host, is back by then."""
HURRY_SECONDS = 3.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_TOLD_AFTER = 5.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a storage may be away: ``seconds`` in a sweep, ``opening`` before its first answer.

    ``note`` is told once when it has been away for a few seconds, and once when it is back. Whoever ``should_stop``
    waits no longer.
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
    pause, told = _FIRST_PAUSE, False
    while True:
        try:
            found = call()
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
            if not told and now - away_since >= _TOLD_AFTER:
                patience.note(f"storage {name} does not answer; trying again for {limit:.0f} s")
                told = True
            # Different from worker to worker, so that they do not all come back at one moment.
            time.sleep(min(pause * draw.uniform(0.5, 1.5), max(0.01, away_since + limit - now)))
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        if told:
            patience.note(f"storage {name} answers again")
        return found


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: Optuna says no more than that a commit failed."""
    while isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    details = getattr(error, "details", None)
    text = str(details()) if callable(details) else str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


class PatientStorage(BaseStorage):
    """A storage whose every call waits out an outage. A trial may then be created twice: see ``sweeps.claims``.

    ``once`` is the storage below, which fails at once.
    """

    def __init__(
        self, once: BaseStorage, *, name: str, is_outage: Callable[[Exception], bool], patience: Patience
    ) -> None:
        self.once = once
        self.name = name
        self._is_outage = is_outage
        self._patience = patience

    def hurried(self) -> "PatientStorage":
        """The same storage with patience for a few seconds only, for whoever is on the way out."""
        short = Patience(seconds=HURRY_SECONDS, opening=HURRY_SECONDS)
        return PatientStorage(self.once, name=self.name, is_outage=self._is_outage, patience=short)

    def _insist(self, call: Callable[[], Result]) -> Result:
        return insist(call, name=self.name, is_outage=self._is_outage, patience=self._patience)

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.create_new_study(directions, study_name))

    def delete_study(self, study_id: int) -> None:
        """See ``BaseStorage``."""
        self._insist(lambda: self.once.delete_study(study_id))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See ``BaseStorage``."""
        self._insist(lambda: self.once.set_study_user_attr(study_id, key, value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See ``BaseStorage``."""
        self._insist(lambda: self.once.set_study_system_attr(study_id, key, value))

    def get_study_id_from_name(self, study_name: str) -> int:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_study_id_from_name(study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_study_name_from_id(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_study_directions(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[Any]:
        """See ``BaseStorage``."""
        return self._insist(self.once.get_all_studies)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See ``BaseStorage``. Where only the answer was lost, there are two trials with the template's attributes."""
        return self._insist(lambda: self.once.create_new_trial(study_id, template_trial))

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """See ``BaseStorage``."""
        self._insist(lambda: self.once.set_trial_param(trial_id, param_name, param_value_internal, distribution))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_trial_id_from_study_id_trial_number(study_id, trial_number))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See ``BaseStorage``. Where only the answer was lost, the second call finds the trial finished and raises."""
        return self._insist(lambda: self.once.set_trial_state_values(trial_id, state, values))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See ``BaseStorage``."""
        self._insist(lambda: self.once.set_trial_intermediate_value(trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See ``BaseStorage``."""
        self._insist(lambda: self.once.set_trial_user_attr(trial_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See ``BaseStorage``."""
        self._insist(lambda: self.once.set_trial_system_attr(trial_id, key, value))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See ``BaseStorage``."""
        return self._insist(lambda: self.once.get_all_trials(study_id, deepcopy, states))

    def remove_session(self) -> None:
        """See ``BaseStorage``."""
        self.once.remove_session()
