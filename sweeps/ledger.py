"""Owns who holds which slot of a study, by one rule that needs no lock: the earliest claim that still counts.

A *slot* is one unit of the budget: a point of a grid, or the n-th trial of a sampled study. A *claim* is a RUNNING
trial that names its slot from birth. Every storage of Optuna creates trials in one total order and shows a worker
all that were created before its own, so a worker creates its claim, looks, and owns the slot only if no earlier claim
counts; otherwise it withdraws. (Popping WAITING trials is no alternative: on SQLite two processes can pop the same.)

Where a storage goes away between doing and answering, a write is made twice. Each claim has a token of its own: of
several trials with one token the first is the claim, and the others are its *echoes*, which count for nothing. To
finish a trial a second time is refused, and the outcome that is stored then says who finished it.
"""

import math
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.board import LOST, OUTCOME, RESULTS, SLOT, TOKEN, WORKER, Board, look, status_of
from sweeps.errors import StorageAwayError
from sweeps.lease import BEAT, Watch, is_stale
from sweeps.outcome import Outcome, Status, TrialResult
from sweeps.slots import Slot

_STATES: Mapping[str, TrialState] = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
_ERROR_CHARACTERS = 4000


@dataclass(frozen=True)
class Ledger:
    """A study seen by one worker. ``settled_before``: failed trials from before this call, which may be retried.

    ``board`` and ``watches`` hold what this worker has read so far, and which leases it watches run out.
    """

    study: optuna.Study
    worker: str
    lease_seconds: float
    settled_before: frozenset[int]
    board: Board = field(default_factory=Board)
    watches: dict[int, Watch] = field(default_factory=dict)

    @property
    def storage(self) -> BaseStorage:
        """The study's storage, which alone can write to a trial from another thread or after its worker's death."""
        return self.study._storage


def failed_numbers(study: optuna.Study) -> frozenset[int]:
    """Return the numbers of the trials that ended without a result and may be retried by a new call."""
    return frozenset(
        trial.number
        for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if SLOT in trial.user_attrs and status_of(trial) not in RESULTS
    )


def read(ledger: Ledger) -> Board:
    """Read what is new in the study; return the board, which shows who holds what."""
    look(ledger.board, ledger.study.get_trials(deepcopy=False), retried=ledger.settled_before)
    return ledger.board


def claim(
    ledger: Ledger, slot: Slot, *, params: Mapping[str, float], distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial | None:
    """Claim a slot; None when another worker's claim came first. ``params`` may be empty, to be sampled later."""
    token = uuid.uuid4().hex
    attributes = {SLOT: slot.key, WORKER: ledger.worker, BEAT: time.time(), TOKEN: token}
    ledger.study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions={name: distributions[name] for name in params},
            user_attrs=attributes,
        )
    )
    board = read(ledger)
    created = [trial for trial in (*board.running.values(), *board.echoes.values()) if trial.user_attrs[TOKEN] == token]
    mine = min(created, key=lambda trial: trial.number, default=None)
    # None where the storage was away for so long that another worker took the claim for that of a dead one.
    held = mine is not None and board.held[slot.key].number == mine.number
    for trial in created:
        if trial is not mine or not held:
            put_back(ledger.storage, trial, "withdrawn")
    return mine if held else None


def earlier_params(ledger: Ledger, slot: Slot, names: Sequence[str]) -> dict[str, float]:
    """Return what a sampler chose for this slot before its worker died or failed; empty when it chose nothing."""
    for trial in ledger.board.claims.get(slot.key, {}).values():
        if set(names) == set(trial.params):
            return {name: trial.params[name] for name in names}
    return {}


def settle(ledger: Ledger, trial: FrozenTrial, outcome: Outcome) -> bool:
    """Store an outcome and finish the trial; False when the lease had ended and the trial was taken away."""
    # A database need not take what JSON has no word for: a diverged run's target may be NaN.
    target = outcome.target if outcome.target is not None and math.isfinite(outcome.target) else None
    error = None if outcome.error is None else outcome.error[:_ERROR_CHARACTERS]
    return _finish(ledger.storage, trial, {**asdict(outcome), "target": target, "error": error})


def put_back(storage: BaseStorage, trial: FrozenTrial, why: Literal["withdrawn", "interrupted"]) -> bool:
    """Finish a trial without a result, so that its slot is free again; False when it had finished already."""
    return _finish(storage, trial, {**LOST, "status": why})


def release_stale(ledger: Ledger) -> list[FrozenTrial]:
    """Read what is new, and finish every running trial whose worker is gone; return those without an outcome."""
    board = read(ledger)
    for number in ledger.watches.keys() - board.running.keys():
        del ledger.watches[number]
    now, moment, lease = time.time(), time.monotonic(), ledger.lease_seconds
    running = list(board.running.values())
    gone = [trial for trial in running if is_stale(trial, ledger.watches, now=now, moment=moment, lease_seconds=lease)]
    lost = []
    for trial in gone:
        # A worker that died between storing its outcome and finishing the trial has done the work.
        if OUTCOME in trial.user_attrs:
            _finish(ledger.storage, trial, trial.user_attrs[OUTCOME])
        # It gets no outcome here: one that its worker, alive after all, stores at this moment must stay.
        elif _tell(ledger.storage, trial, TrialState.FAIL, None):
            lost.append(trial)
    echoes = list(board.echoes.values())
    for echo in echoes:
        put_back(ledger.storage, echo, "withdrawn")
    if gone or echoes:
        read(ledger)
    return lost


def _finish(storage: BaseStorage, trial: FrozenTrial, outcome: Mapping[str, object]) -> bool:
    state = _STATES.get(str(outcome["status"]), TrialState.FAIL)
    try:
        # One attribute, written before the state, so that whoever finds the trial unfinished knows how it ends.
        storage.set_trial_user_attr(trial._trial_id, OUTCOME, dict(outcome))
        value = cast(float | None, outcome["target"]) if state is TrialState.COMPLETE else None
        if state is TrialState.PRUNED:
            value = _last_score(storage.get_trial(trial._trial_id))
    except optuna.exceptions.UpdateFinishedTrialError:
        finished = False
    else:
        finished = _tell(storage, trial, state, value)
    # Where it was finished already, that may have been this very call, of which only the answer was lost.
    return finished or storage.get_trial(trial._trial_id).user_attrs.get(OUTCOME) == dict(outcome)


def _tell(storage: BaseStorage, trial: FrozenTrial, state: TrialState, value: float | None) -> bool:
    """Finish a trial; False when it had been finished already."""
    try:
        storage.set_trial_state_values(trial._trial_id, state, None if value is None else [float(value)])
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    return True


def _last_score(trial: FrozenTrial) -> float | None:
    """What Optuna takes for the value of a pruned trial: its score at the last rung, where that is a number."""
    score = None if trial.last_step is None else trial.intermediate_values[trial.last_step]
    return score if score is not None and math.isfinite(score) else None


def result(trial: FrozenTrial) -> TrialResult:
    """Return a finished claim as a result."""
    stored = trial.user_attrs.get(OUTCOME, LOST)
    lost = stored is LOST
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
    """Evaluate; an exception, or anything but an Outcome, becomes a failed outcome that tells what happened.

    Raises:
        StorageAwayError: where the storage is away for too long, which is no fault of the trial.
    """
    try:
        outcome = evaluate(params, number)
        if not isinstance(outcome, Outcome):
            raise TypeError(f"evaluate returned {type(outcome).__name__}, not an Outcome")
    except StorageAwayError:
        raise
    except Exception as error:
        lines = "".join(traceback.format_exception(error))
        summary = f"{type(error).__name__}: {error}"[: _ERROR_CHARACTERS // 2]
        return Outcome("failed", None, "", f"{summary}\n{lines[-(_ERROR_CHARACTERS // 2) + 1 :]}")
    return outcome
