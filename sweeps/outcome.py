"""What becomes of a trial: its outcome, the result a caller sees, the events on the way, and the best one."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sweeps.protocol import Direction

Status = Literal["completed", "diverged", "pruned", "failed"]
EventKind = Literal["started", "finished", "lost", "waiting"]


@dataclass(frozen=True)
class Outcome:
    """What one evaluation came to; ``run_key`` names the run, ``target`` is the number to optimise.

    Raises:
        ValueError: for an unknown status, or a completed outcome without a finite target.
    """

    status: Status
    target: float | None
    run_key: str
    error: str | None

    def __post_init__(self) -> None:
        if self.status not in ("completed", "diverged", "pruned", "failed"):
            raise ValueError(f"status {self.status!r} is not one of completed, diverged, pruned, failed")
        if self.status == "completed" and (self.target is None or not math.isfinite(self.target)):
            raise ValueError(
                f"run {self.run_key!r} completed with target={self.target!r}; a completed run has a finite target, "
                "a run without one has diverged or failed"
            )


@dataclass(frozen=True)
class TrialResult:
    """A settled trial. ``number`` is Optuna's; ``worker`` is host:pid:start; ``seconds`` is wall-clock time."""

    number: int
    params: dict[str, float]
    status: Status
    target: float | None
    run_key: str
    error: str | None
    worker: str
    seconds: float | None


@dataclass(frozen=True)
class TrialEvent:
    """Something that a progress display shows. ``settled`` of ``total`` points have a result, over all workers.

    ``started``, ``finished``: a trial of this worker. ``lost``: a trial, of any worker, whose lease ended before
    its result was stored. ``waiting``: every point is taken, and others are still at work (``number`` is None).
    """

    kind: EventKind
    number: int | None
    params: dict[str, float]
    result: TrialResult | None
    settled: int
    total: int


def best(results: Iterable[TrialResult], direction: Direction) -> TrialResult | None:
    """Return the completed result with the best target, the earliest trial of equals; None where none completed."""
    if direction not in ("maximize", "minimize"):
        raise ValueError(f"direction {direction!r} is not one of maximize, minimize")
    sign = -1.0 if direction == "maximize" else 1.0
    ranked = [
        (sign * result.target, result.number, result)
        for result in results
        if result.status == "completed" and result.target is not None
    ]
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None
