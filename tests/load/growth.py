"""Owns how the overhead of a trial grows with the trials that a study has already."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from sweeps.grid import grid_slots
from sweeps.worker import Sweep
from tests.load.workers import joined, points_of, timed_take

SIZES = (100, 300, 1000, 3000, 10000)
MEASURED = 40


@dataclass(frozen=True, kw_only=True)
class Grown:
    """At ``size`` trials in the study: seconds of overhead of one worker's trial (``Trial``), and of joining afresh."""

    size: int
    median: float
    p95: float
    cpu: float
    joining: float


def grow(storage: str, *, sizes: tuple[int, ...] = SIZES) -> Iterator[Grown]:
    """Fill a study up to each size, then measure some trials of one worker that has been there from the start."""
    points = points_of(max(sizes) + MEASURED * len(sizes))
    sweep = joined(storage, points)
    filler = joined(_hasty(storage), points)
    filled = 0
    for size in sizes:
        # What the worker does is from the front, what is filled in from the back.
        filled = _fill(filler, points, filled, size - len(sweep.ledger.study.get_trials(deepcopy=False)))
        timed_take(sweep, worker=0, seconds=0.0)
        found = [timed_take(sweep, worker=0, seconds=0.0) for _ in range(MEASURED)]
        trials = [trial for trial in found if trial is not None]
        costs = sorted(trial.overhead for trial in trials)
        assert len(costs) == MEASURED
        started = time.perf_counter()
        joined(storage, points)
        yield Grown(
            size=size,
            median=statistics.median(costs),
            p95=costs[int(0.95 * len(costs))],
            cpu=statistics.median(trial.cpu for trial in trials),
            joining=time.perf_counter() - started,
        )


def _hasty(storage: str) -> str:
    """The same database, told not to wait for its disk: what is filled in need not outlive a power cut."""
    return f"{storage}?options=-csynchronous_commit%3Doff" if storage.startswith("postgresql") else storage


def _fill(sweep: Sweep, points: list[dict[str, float]], filled: int, count: int) -> int:
    """Put finished trials into the study as workers would have left them."""
    spread = {"beta": FloatDistribution(1.0, float(len(points)))}
    ledger = sweep.ledger
    for place in range(filled, filled + count):
        point = points[-1 - place]
        (slot,) = grid_slots([point])
        outcome = {"status": "completed", "target": point["beta"], "run_key": f"run-{point['beta']}", "error": None}
        attributes = {"slot": slot.key, "worker": ledger.worker, "beat": 0.0, "token": f"{place}", "outcome": outcome}
        ledger.study.add_trial(
            create_trial(
                state=TrialState.COMPLETE, value=point["beta"], params=point, distributions=spread,
                user_attrs=attributes,
            )
        )  # fmt: skip
    return filled + count
