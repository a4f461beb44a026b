"""Callbacks through which a run reports progress and learns that it should stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from bench.core.specs import RunSpec
from bench.runner.plan import Plan
from bench.utils.event_log import log_event

EVALUATION_UNITS = 0.5
"""What an evaluation counts for in the progress, as a share of a run's steps."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Callbacks of a run.

    ``busy`` gets the begin and the end of a piece of work, in seconds of the monotonic clock. ``place`` gets, before a
    run, its position among all of its kind and how many these are. ``trackers`` follow each training, by name.
    """

    step: Callable[[RunSpec, int, dict[str, float | None]], None]
    note: Callable[[str], None]
    should_stop: Callable[[], bool]
    busy: Callable[[float, float], None] = lambda started, ended: None
    place: Callable[[int, int], None] = lambda position, total: None
    trackers: tuple[str, ...] = ()


@dataclass
class Stop:
    """Whether a user asked to stop. A run that trains saves its state first; anything else stops at once."""

    requested: bool = False
    training: bool = False


@contextmanager
def stoppable(*, by: tuple[signal.Signals, ...] = SIGNALS) -> Iterator[Stop]:
    """Turn the first of these signals during training into a request; a second one, or one elsewhere, stops now."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        log_event("signal_received", {"signal": signal.Signals(number).name, "training": stop.training})
        if stop.requested or not stop.training:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, handle) for number in by}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hooks_of(
    plan: Plan,
    *,
    advance: Callable[[int, str], None],
    note: Callable[[str], None],
    stop: Stop,
    orphaned: Callable[[], bool] = lambda: False,
    busy: Callable[[float, float], None] = lambda started, ended: None,
    place: Callable[[int, int], None] = lambda position, total: None,
) -> Hooks:
    """Return the hooks of a process that works on ``plan``.

    Args:
        advance: gets units of work that are done, and in a few words what is going on.
        orphaned: says whether the process that this one works for is gone, which stops it like a user's wish.
    """
    steps = plan.workspace.train.steps

    def step(spec: RunSpec, number: int, row: dict[str, float | None]) -> None:
        stop.training = number < steps
        extra = round(EVALUATION_UNITS * steps) if number == steps else 0
        setting = " ".join(f"{name}={value:g}" for name, value in spec.params.items())
        what = f"{spec.objective} {setting} seed {spec.seed}"
        advance(
            plan.workspace.execution.log_every + extra,
            f"{what} · {'evaluating' if number == steps else f'step {number}/{steps}'} · loss {row['loss']:.4g}",
        )

    return Hooks(
        step=step,
        note=note,
        should_stop=lambda: stop.requested or orphaned(),
        busy=busy,
        place=place,
        trackers=plan.request.trackers,
    )
