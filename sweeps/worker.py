"""Work on a study: claim, evaluate, settle, point by point; any number of workers join."""

import hashlib
import itertools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from sweeps.claims import (
    Board,
    Ledger,
    claim,
    earlier_params,
    failed_numbers,
    guarded,
    put_back,
    read,
    release_stale,
    result,
    settle,
)
from sweeps.compat import trial_id
from sweeps.errors import StorageAwayError, StudyError, SweepError
from sweeps.grid import Slot, slots_of
from sweeps.heartbeat import WORKER, beat_seconds, heartbeat, worker_id
from sweeps.outcome import EventKind, Outcome, TrialEvent, TrialResult, best
from sweeps.patience import PatientStorage
from sweeps.study import TERMS, build_sampler

__all__ = ["Outcome", "Sweep", "TrialEvent", "TrialResult", "best", "join_study", "run_trials", "settled", "take"]

SPREAD = 8
"""Free points for each worker that it may choose from: one claim in so many, or fewer, meets another one."""
Evaluate = Callable[[dict[str, float], int], Outcome]
OnEvent = Callable[[TrialEvent], None]


@dataclass(frozen=True)
class Sweep:
    """A study and what is to be tried in it, seen by one worker. A process makes its own: none is shared by a fork."""

    ledger: Ledger
    slots: tuple[Slot, ...]
    distributions: Mapping[str, BaseDistribution]
    on_event: OnEvent | None = None


def run_trials(
    study: optuna.Study,
    *,
    evaluate: Evaluate,
    points: Sequence[Mapping[str, float]] | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
    trials: int | None = None,
    on_event: OnEvent | None = None,
    catch_interrupt: bool = True,
    lease_seconds: float = 120.0,
    wait: bool = True,
) -> list[TrialResult]:
    """Work on a study, together with whoever else does, and return its results in the order of the points.

    Give ``points`` (a grid: each is evaluated once over all workers) or ``distributions`` and ``trials`` (the
    study's sampler chooses; the n-th trial's seed depends on n alone, not on which worker has it).
    ``evaluate(params, number)`` runs one trial; ``number`` is Optuna's and only a label. What it raises is stored as
    a failed trial, which is retried by the next call, not by this one. A diverged trial is a result: it counts, and
    is never retried. An interrupt puts the point back and goes on up; with ``catch_interrupt=False`` the trial is
    left to its lease. A trial whose process is gone, or that was silent for ``lease_seconds``, is put back once.
    ``wait``: stay until the others' trials have results too, and take over those that are lost; otherwise return
    when nothing is free.

    Raises:
        SweepError: unless exactly one of points and distributions (with trials) is given.
        StudyError: for distributions with a study that ``open_study`` did not open.
    """
    sweep = join_study(
        study, points=points, distributions=distributions, trials=trials, on_event=on_event, lease_seconds=lease_seconds
    )
    announced = False
    while True:
        if take(sweep, evaluate, catch_interrupt=catch_interrupt):
            announced = False
            continue
        board = sweep.ledger.board
        if wait and _count_settled(sweep) < len(sweep.slots):
            if not announced:
                _emit(sweep, "waiting", None, {}, None)
            announced = True
            time.sleep(min(1.0, beat_seconds(lease_seconds)))
            continue
        return [result(board.holders[slot.key]) for slot in sweep.slots if board.is_settled(slot.key)]


def join_study(
    study: optuna.Study,
    *,
    points: Sequence[Mapping[str, float]] | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
    trials: int | None = None,
    retry: frozenset[int] | None = None,
    on_event: OnEvent | None = None,
    lease_seconds: float = 120.0,
) -> Sweep:
    """Join a study with ``points`` or with ``distributions`` and ``trials``, as in ``run_trials``.

    Args:
        retry: numbers of failed trials from before, to be tried again; None: those that the study has now. Workers of
            one command share one set, or the one that joins last would retry what another has just failed at.

    Raises:
        SweepError: unless exactly one of points and distributions (with trials) is given.
    """
    if lease_seconds <= 0:
        raise SweepError(f"lease_seconds must be above 0 (got {lease_seconds})", fix="for example 120")
    slots, spread = slots_of(points, distributions, trials)
    sweep = Sweep(Ledger(study, worker_id(), lease_seconds, frozenset()), slots, spread, on_event)
    _release(sweep)
    again = failed_numbers(study) if retry is None else retry
    return replace(sweep, ledger=replace(sweep.ledger, settled_before=again, board=Board()))


def take(sweep: Sweep, evaluate: Evaluate, *, catch_interrupt: bool = True) -> bool:
    """Work on the first free point; False when none is free: others are at work, or every point has a result."""
    for collisions in itertools.count():
        _release(sweep)
        slot = _choose(sweep, collisions)
        if slot is None:
            return False
        if _step(sweep, slot, evaluate, catch_interrupt=catch_interrupt):
            return True
    raise AssertionError("the count never ends")


def settled(sweep: Sweep) -> list[TrialResult] | None:
    """Return the results in the order of the points; None while one of them has none."""
    board = read(sweep.ledger)
    if _count_settled(sweep) < len(sweep.slots):
        return None
    return [result(board.holders[slot.key]) for slot in sweep.slots]


def _choose(sweep: Sweep, collisions: int) -> Slot | None:
    """Return a free slot, None where there is none: the first one for a worker that is alone, or one of two.

    Where more are at work, it is one of the first few for each, and not the same for all: workers that finish at the
    same time would all go for the first one, and all but one would have to withdraw.
    """
    board, worker = sweep.ledger.board, sweep.ledger.worker
    # Running claims alone are too few: a worker that waits to claim has none.
    others = len({*board.recent, *(trial.user_attrs[WORKER] for trial in board.running.values())} - {worker})
    reach = (1 if others < 2 else SPREAD * others) * (1 + collisions)
    free = list(itertools.islice((slot for slot in sweep.slots if slot.key not in board.holders), reach))
    return free[zlib.crc32(f"{worker}/{board.looked}".encode()) % len(free)] if free else None


def _step(sweep: Sweep, slot: Slot, evaluate: Evaluate, *, catch_interrupt: bool) -> bool:
    """Claim a slot and work on it; False when another worker was first."""
    ledger = sweep.ledger
    known = slot.params if slot.params is not None else earlier_params(ledger, slot, tuple(sweep.distributions))
    trial = claim(ledger, slot, params=known, distributions=sweep.distributions)
    if trial is None:
        return False
    try:
        with heartbeat(ledger.storage, trial_id(trial), lease_seconds=ledger.lease_seconds):
            params = dict(trial.params) or _sampled(sweep, trial, slot)
            _emit(sweep, "started", trial.number, params, None)
            outcome = guarded(evaluate, dict(params), trial.number)
    except BaseException:
        if catch_interrupt:
            _give_back(ledger, trial)
        raise
    kept = settle(ledger, trial, outcome)
    if sweep.on_event is None:
        return True
    finished = result(ledger.storage.get_trial(trial_id(trial))) if kept else None
    _emit(sweep, "finished" if kept else "lost", trial.number, params, finished)
    return True


def _give_back(ledger: Ledger, trial: FrozenTrial) -> None:
    """Put a trial back on the way out, if the storage answers soon; otherwise its lease frees it."""
    storage = ledger.storage
    with suppress(StorageAwayError):
        put_back(storage.hurried() if isinstance(storage, PatientStorage) else storage, trial, "interrupted")


def _sampled(sweep: Sweep, trial: FrozenTrial, slot: Slot) -> dict[str, float]:
    """Let the study's sampler choose, seeded by the study's seed and the slot: the same for any set of workers."""
    ledger = sweep.ledger
    terms = ledger.study.user_attrs.get(TERMS)
    if terms is None:
        raise StudyError(f"study {ledger.study.study_name!r} names no sampler", fix="open it with open_study")
    digest = hashlib.sha256(f"{terms['seed']}/{slot.key}".encode()).digest()
    study = optuna.load_study(
        study_name=ledger.study.study_name,
        storage=ledger.storage,
        sampler=build_sampler(terms["sampler"], seed=int.from_bytes(digest[:4], "big")),
    )
    sampled = optuna.trial.Trial(study, trial_id(trial))
    return {name: _suggested(sampled, name, space) for name, space in sweep.distributions.items()}


def _suggested(trial: optuna.Trial, name: str, space: BaseDistribution) -> float:
    if isinstance(space, CategoricalDistribution):
        return trial.suggest_categorical(name, space.choices)
    if isinstance(space, FloatDistribution):
        return trial.suggest_float(name, space.low, space.high, log=space.log)
    raise SweepError(f"parameter {name!r} has {space!r}", fix="give a float or a categorical distribution")


def _release(sweep: Sweep) -> None:
    for trial in release_stale(sweep.ledger):
        _emit(sweep, "lost", trial.number, dict(trial.params), None)


def _count_settled(sweep: Sweep) -> int:
    return sum(sweep.ledger.board.is_settled(slot.key) for slot in sweep.slots)


def _emit(
    sweep: Sweep, kind: EventKind, number: int | None, params: dict[str, float], finished: TrialResult | None
) -> None:
    if sweep.on_event is None:
        return
    read(sweep.ledger)
    sweep.on_event(TrialEvent(kind, number, params, finished, _count_settled(sweep), len(sweep.slots)))
