"""Claims of workers on the slots of a study: which claim holds a slot, making one, and settling it.

A slot belongs to the first claim on it that counts. Finished claims are read once.
"""

import math
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Literal, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.compat import storage_of, trial_id
from sweeps.errors import StorageAwayError
from sweeps.grid import Slot
from sweeps.heartbeat import BEAT, WORKER, Watch, is_stale
from sweeps.outcome import Outcome, Status, TrialResult

SLOT = "slot"

TOKEN = "token"

OUTCOME = "outcome"

RESULTS = ("completed", "diverged", "pruned")

RECENT = 200

LOST: Mapping[str, object] = MappingProxyType({"status": "lost", "target": None, "run_key": "", "error": None})


@dataclass(kw_only=True)
class Board:
    """The claims of a study as one process has read them, by slot and by number.

    ``holders``: the claim that holds each slot. ``running``: claims that may still change. ``echoes``: running trials
    that a repeated write made (see ``sweeps.claims``). ``claims``: those of slots that have no result yet.
    ``recent``: who made the last claims.
    """

    holders: dict[str, FrozenTrial] = field(default_factory=dict)
    running: dict[int, FrozenTrial] = field(default_factory=dict)
    echoes: dict[int, FrozenTrial] = field(default_factory=dict)
    claims: dict[str, dict[int, FrozenTrial]] = field(default_factory=dict)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    looked: int = 0

    def is_settled(self, key: str) -> bool:
        """Say whether a slot has a result, or has failed for good as far as this call goes."""
        return key in self.holders and self.holders[key].state.is_finished()

    def is_final(self, key: str) -> bool:
        """Say whether a slot has a result, which it keeps; a failure may yet be retried by another command."""
        return key in self.holders and has_result(self.holders[key])


def look(board: Board, trials: Sequence[FrozenTrial], *, retried: frozenset[int]) -> None:
    """Take in a study's trials, of which only the new and the unfinished ones are looked at.

    Args:
        trials: all of them, in the order of their numbers, which begin at 0.
        retried: numbers of failed trials that no longer count.
    """
    touched: dict[str, None] = {}
    for number in (*board.running, *board.echoes, *range(board.looked, len(trials))):
        trial = trials[number]
        key = trial.user_attrs.get(SLOT)
        # Trials made by hand or by other programs are no claims, and never become any.
        if key is None:
            continue
        board.running.pop(number, None)
        board.echoes.pop(number, None)
        if trial.state is TrialState.RUNNING:
            board.running[number] = trial
        if not board.is_final(key):
            board.claims.setdefault(key, {})[number] = trial
            touched[key] = None
    first = max(board.looked, len(trials) - RECENT)
    board.recent.extend(trial.user_attrs[WORKER] for trial in trials[first:] if SLOT in trial.user_attrs)
    board.looked = max(board.looked, len(trials))
    for key in touched:
        claims = board.claims[key]
        for echo in _echoes(claims.values()):
            if board.running.pop(echo.number, None) is not None:
                board.echoes[echo.number] = echo
        holder = first_that_counts(claims.values(), retried=retried)
        board.holders.pop(key, None)
        if holder is not None:
            board.holders[key] = holder
            if has_result(holder):
                del board.claims[key]


def first_that_counts(claims: Iterable[FrozenTrial], *, retried: frozenset[int]) -> FrozenTrial | None:
    """Return the claim that holds a slot, of all on it in the order of their numbers; None where it is free.

    The first one that runs or has a result; where there is none, the last one that failed. So commands that retry
    different failures agree as soon as one of them tries again. Only a finished claim can be void, and a void one
    stays so.
    """
    tokens: set[str] = set()
    lost = False
    failed: FrozenTrial | None = None
    for trial in claims:
        token = trial.user_attrs[TOKEN]
        if token in tokens:
            continue
        tokens.add(token)
        if has_result(trial) or not trial.state.is_finished():
            return trial
        status = status_of(trial)
        if status in ("withdrawn", "interrupted") or trial.number in retried:
            continue
        # The second worker to die at one point while this call lasts is a sign that the point kills workers.
        if status == "lost" and not lost:
            lost = True
            continue
        failed = trial
    return failed


def has_result(trial: FrozenTrial) -> bool:
    """Say whether a claim ended with what counts: a value, or a divergence, which is one too."""
    if trial.state is TrialState.FAIL:
        return status_of(trial) in RESULTS
    return trial.state.is_finished()


def status_of(trial: FrozenTrial) -> str:
    """Return how a claim ended; a FAIL without an outcome was set from outside, and counts as lost."""
    return trial.user_attrs.get(OUTCOME, LOST)["status"]


def _echoes(claims: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    seen: set[str] = set()
    echoes = []
    for trial in claims:
        if trial.user_attrs[TOKEN] in seen:
            echoes.append(trial)
        seen.add(trial.user_attrs[TOKEN])
    return echoes


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
        return storage_of(self.study)


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
    won = mine is not None and board.holders[slot.key].number == mine.number
    for trial in created:
        if trial is not mine or not won:
            put_back(ledger.storage, trial, "withdrawn")
    return mine if won else None


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
        storage.set_trial_user_attr(trial_id(trial), OUTCOME, dict(outcome))
        value = cast(float | None, outcome["target"]) if state is TrialState.COMPLETE else None
        if state is TrialState.PRUNED:
            value = _last_score(storage.get_trial(trial_id(trial)))
    except optuna.exceptions.UpdateFinishedTrialError:
        finished = False
    else:
        finished = _tell(storage, trial, state, value)
    # Where it was finished already, that may have been this very call, of which only the answer was lost.
    return finished or storage.get_trial(trial_id(trial)).user_attrs.get(OUTCOME) == dict(outcome)


def _tell(storage: BaseStorage, trial: FrozenTrial, state: TrialState, value: float | None) -> bool:
    """Finish a trial; False when it had been finished already."""
    try:
        storage.set_trial_state_values(trial_id(trial), state, None if value is None else [float(value)])
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    return True


def _last_score(trial: FrozenTrial) -> float | None:
    """Return what Optuna takes for the value of a pruned trial: its score at the last rung, where that is a number."""
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
