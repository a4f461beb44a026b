"""Callbacks through which a run reports progress and learns that it should stop."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.core.specs import RunSpec
from bench.runner.plan import Plan
from bench.utils.stop_signals import Stop

EVALUATION_UNITS = 0.5
"""What an evaluation counts for in the progress, as a share of a run's steps."""


def units_of(steps: int) -> int:
    """Return the units of work of a training of so many steps, with its evaluation."""
    return steps + round(EVALUATION_UNITS * steps)


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Callbacks of a run.

    ``doing`` gets what is going on, in a few words. ``busy`` gets the begin and the end of a piece of work, in seconds
    of the monotonic clock. ``place`` gets, before a run, its position among all of its kind and how many these are.
    ``milestone`` gets a line that every process of a command finds out, and how many trainings it added. ``trackers``
    follow each training, by name. ``stop`` is the process's own: it is set while a training has steps to save.
    """

    step: Callable[[RunSpec, int, dict[str, float | None]], None]
    note: Callable[[str], None]
    should_stop: Callable[[], bool]
    doing: Callable[[str], None] = lambda text: None
    busy: Callable[[float, float], None] = lambda started, ended: None
    place: Callable[[int, int], None] = lambda position, total: None
    milestone: Callable[[str, int], None] = lambda text, trainings: None
    trackers: tuple[str, ...] = ()
    stop: Stop = field(default_factory=Stop)


def hooks_of(
    plan: Plan,
    *,
    advance: Callable[[int, str], None],
    note: Callable[[str], None],
    stop: Stop,
    orphaned: Callable[[], bool] = lambda: False,
    busy: Callable[[float, float], None] = lambda started, ended: None,
    place: Callable[[int, int], None] = lambda position, total: None,
    milestone: Callable[[str, int], None] = lambda text, units: None,
) -> Hooks:
    """Return the hooks of a process that works on ``plan``.

    Args:
        advance: gets units of work that are done, and in a few words what is going on.
        milestone: gets a line that every process of a command finds out, and units of work that it added.
        orphaned: says whether the process that this one works for is gone, which stops it like a user's wish.
    """
    steps = plan.workspace.train.steps

    def step(spec: RunSpec, number: int, row: dict[str, float | None]) -> None:
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
        doing=lambda text: advance(0, text),
        should_stop=lambda: stop.requested or orphaned(),
        busy=busy,
        place=place,
        milestone=lambda text, trainings: milestone(text, trainings * units_of(steps)),
        trackers=plan.request.trackers,
        stop=stop,
    )
