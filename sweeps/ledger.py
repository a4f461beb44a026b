"""Owns who holds which slot of a study, by one rule that needs no lock: the earliest claim that still counts.

A *slot* is one unit of the budget: a point of a grid, or the n-th trial of a sampled study. A *claim* is a RUNNING
trial that names its slot from birth. Every storage of Optuna creates trials in one total order and shows a worker
all that were created before its own, so a worker creates its claim, looks, and owns the slot only if no earlier claim
counts; otherwise it withdraws. (Popping WAITING trials is no alternative: on SQLite two processes can pop the same.)
"""

import json
import math
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.lease import BEAT, WORKER, is_stale
from sweeps.outcome import Outcome, Status, TrialResult

SLOT = "slot"
_OUTCOME = "outcome"
_TOKEN = "token"
_STATES: Mapping[str, TrialState] = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
_RESULTS = ("completed", "diverged", "pruned")
_LOST: Mapping[str, object] = MappingProxyType({"status": "lost", "target": None, "run_key": "", "error": None})
_ERROR_CHARACTERS = 4000


@dataclass(frozen=True)
class Slot:
    """One unit of the budget; ``params`` is None where a sampler is still to choose them."""

    key: str
    params: Mapping[str, float] | None


@dataclass(frozen=True)
class Ledger:
    """A study seen by one worker. ``settled_before``: failed trials from before this call, which may be retried."""

    study: optuna.Study
    worker: str
    lease_seconds: float
    settled_before: frozenset[int]

    @property
    def storage(self) -> optuna.storages.BaseStorage:
        """The study's storage, which alone can write to a trial from another thread or after its worker's death."""
        return self.study._storage


def grid_slots(points: Sequence[Mapping[str, float]]) -> tuple[Slot, ...]:
    """Return a slot for each different point, named by its values, in the order given."""
    slots = {}
    for point in points:
        params = {name: float(value) for name, value in point.items()}
        key = json.dumps(params, sort_keys=True)
        slots[key] = Slot(key, params)
    return tuple(slots.values())


def sampled_slots(trials: int) -> tuple[Slot, ...]:
    """Return ``trials`` slots, named by their rank, whose parameters a sampler chooses."""
    return tuple(Slot(str(rank), None) for rank in range(trials))


def failed_numbers(study: optuna.Study) -> frozenset[int]:
    """Return the numbers of the trials that ended without a result and may be retried by a new call."""
    return frozenset(
        trial.number for trial in claims(study) if trial.state is TrialState.FAIL and _status(trial) not in _RESULTS
    )


def claims(study: optuna.Study) -> list[FrozenTrial]:
    """Return the study's claims in their order of creation; trials made by hand or by other programs are none."""
    return [trial for trial in study.get_trials(deepcopy=False) if SLOT in trial.user_attrs]


def holders(ledger: Ledger, trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Return slot key -> the claim that holds it: the first that counts."""
    held: dict[str, FrozenTrial] = {}
    lost: set[str] = set()
    for trial in trials:
        key = trial.user_attrs[SLOT]
        if not _is_void(trial, ledger, lost) and key not in held:
            held[key] = trial
    return held


def _is_void(trial: FrozenTrial, ledger: Ledger, lost: set[str]) -> bool:
    """Say whether a claim no longer counts. Only a finished trial can be void, and a void one stays so."""
    if trial.state is not TrialState.FAIL:
        return False
    status, key = _status(trial), trial.user_attrs[SLOT]
    if status in _RESULTS:
        return False
    if status in ("withdrawn", "interrupted") or trial.number in ledger.settled_before:
        return True
    # The second worker to die at one point while this call lasts is a sign that the point kills workers.
    first_loss = status == "lost" and key not in lost
    lost.add(key)
    return first_loss


def claim(
    ledger: Ledger, slot: Slot, *, params: Mapping[str, float], distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial | None:
    """Claim a slot; None when another worker's claim came first. ``params`` may be empty, to be sampled later."""
    token = uuid.uuid4().hex
    attributes = {SLOT: slot.key, WORKER: ledger.worker, BEAT: time.time(), _TOKEN: token}
    ledger.study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions={name: distributions[name] for name in params},
            user_attrs=attributes,
        )
    )
    trials = claims(ledger.study)
    mine = next(trial for trial in reversed(trials) if trial.user_attrs[_TOKEN] == token)
    if holders(ledger, trials)[slot.key].number == mine.number:
        return mine
    put_back(ledger, mine, "withdrawn")
    return None


def earlier_params(ledger: Ledger, slot: Slot, names: Sequence[str]) -> dict[str, float]:
    """Return what a sampler chose for this slot before its worker died or failed; empty when it chose nothing."""
    for trial in claims(ledger.study):
        if trial.user_attrs[SLOT] == slot.key and set(names) == set(trial.params):
            return {name: trial.params[name] for name in names}
    return {}


def settle(ledger: Ledger, trial: FrozenTrial, outcome: Outcome) -> bool:
    """Store an outcome and finish the trial; False when the lease had ended and the trial was taken away."""
    # A database need not take what JSON has no word for: a diverged run's target may be NaN.
    target = outcome.target if outcome.target is not None and math.isfinite(outcome.target) else None
    error = None if outcome.error is None else outcome.error[:_ERROR_CHARACTERS]
    return _finish(ledger, trial, {**asdict(outcome), "target": target, "error": error})


def put_back(ledger: Ledger, trial: FrozenTrial, why: Literal["withdrawn", "interrupted"]) -> bool:
    """Finish a trial without a result, so that its slot is free again; False when it had finished already."""
    return _finish(ledger, trial, {**_LOST, "status": why})


def release_stale(ledger: Ledger) -> list[FrozenTrial]:
    """Finish every running trial whose worker is gone; return those that had stored no outcome."""
    lost = []
    for trial in claims(ledger.study):
        if trial.state is not TrialState.RUNNING:
            continue
        if not is_stale(trial, now=time.time(), lease_seconds=ledger.lease_seconds):
            continue
        # A worker that died between storing its outcome and finishing the trial has done the work.
        if _OUTCOME in trial.user_attrs:
            _finish(ledger, trial, trial.user_attrs[_OUTCOME])
        # It gets no outcome here: one that its worker, alive after all, stores at this moment must stay.
        elif _tell(ledger, trial, TrialState.FAIL, None):
            lost.append(trial)
    return lost


def _finish(ledger: Ledger, trial: FrozenTrial, outcome: Mapping[str, object]) -> bool:
    state = _STATES.get(str(outcome["status"]), TrialState.FAIL)
    value = outcome["target"] if state is TrialState.COMPLETE else None
    try:
        # One attribute, written before the state, so that whoever finds the trial unfinished knows how it ends.
        ledger.storage.set_trial_user_attr(trial._trial_id, _OUTCOME, dict(outcome))
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    return _tell(ledger, trial, state, value)


def _tell(ledger: Ledger, trial: FrozenTrial, state: TrialState, value: object) -> bool:
    """Finish a trial; False when another worker had finished it already."""
    try:
        ledger.study.tell(trial.number, value, state=state)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
        if not ledger.storage.get_trial(trial._trial_id).state.is_finished():
            raise
        return False
    return True


def result(trial: FrozenTrial) -> TrialResult:
    """Return a finished claim as a result."""
    stored = trial.user_attrs.get(_OUTCOME, _LOST)
    lost = stored is _LOST
    status: Status = "failed" if lost else stored["status"]
    return TrialResult(
        number=trial.number,
        params=dict(trial.params),
        status=status,
        target=stored["target"],
        run_key=stored["run_key"],
        error="the worker died twice at this point: out of memory, or killed" if lost else stored["error"],
        worker=trial.user_attrs[WORKER],
        seconds=None if trial.duration is None else trial.duration.total_seconds(),
    )


def guarded(evaluate: Callable[[dict[str, float], int], Outcome], params: dict[str, float], number: int) -> Outcome:
    """Evaluate; an exception, or anything but an Outcome, becomes a failed outcome that tells what happened."""
    try:
        outcome = evaluate(params, number)
        if not isinstance(outcome, Outcome):
            raise TypeError(f"evaluate returned {type(outcome).__name__}, not an Outcome")
    except Exception as error:
        lines = "".join(traceback.format_exception(error))
        summary = f"{type(error).__name__}: {error}"[: _ERROR_CHARACTERS // 2]
        return Outcome("failed", None, "", f"{summary}\n{lines[-(_ERROR_CHARACTERS // 2) + 1 :]}")
    return outcome


def _status(trial: FrozenTrial) -> str:
    """Return how a claim ended; a FAIL without an outcome was set from outside, and counts as lost."""
    return trial.user_attrs.get(_OUTCOME, _LOST)["status"]
