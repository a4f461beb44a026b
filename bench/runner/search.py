"""The settings that one objective is tried at: what is searched, and the points or the space of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution

from bench.core.manifest import is_complete
from bench.core.request import LEARNING_RATE, Request
from bench.core.specs import RunSpec, SetSpec
from bench.errors import UsageError
from bench.runner.keys import run_spec
from bench.runner.workspace import Workspace
from bench.suites.suite import Suite
from losses import Objective
from losses.space import Log, Space
from sweeps.errors import SweepError
from sweeps.search import Axis, distributions, parse_sweep, points

OWN = "own"
"""The axis that is each objective's main parameter."""

Point = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Search:
    """The settings that one objective is tried at. ``fixed`` holds values that ``--set`` gave."""

    objective: Objective
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    distributions: Mapping[str, BaseDistribution] | None
    fixed: Mapping[str, float]

    @property
    def trials(self) -> int:
        """How many settings are tried."""
        return len(self.points)

    @property
    def design(self) -> dict[str, Any]:
        """What the study is opened with: the grid, or the space that a sampler draws from."""
        if self.distributions is not None:
            return {"distributions": self.distributions}
        return {"points": self.points}

    def spec(self, workspace: Workspace, point: Mapping[str, float], *, seed: int) -> RunSpec:
        """The run at a point."""
        values = {**self.fixed, **point}
        rate = values.pop(LEARNING_RATE, workspace.train.learning_rate)
        return run_spec(workspace, self.objective, values, learning_rate=rate, seed=seed)


def axes_of(request: Request, preset: tuple[str, ...]) -> tuple[Axis, ...]:
    """What is searched: as typed, else as the protocol that was asked for says."""
    text = request.sweep or ",".join(preset)
    try:
        return parse_sweep(text) if text else ()
    except SweepError as error:
        raise UsageError(f"--sweep {text}: {error.problem}", fix=error.fix) from error


def own_axes(objective: Objective, axes: tuple[Axis, ...], *, fixed: Collection[str]) -> tuple[Axis, ...]:
    """Replace the axis «own» by the objective's main parameter: β, or its first one that is neither swept nor fixed.

    An objective that has none left is tried at as many learning rates instead.
    """
    given = {axis.name for axis in axes} | set(fixed)
    order = [*(["beta"] if "beta" in objective.params else []), *objective.params, LEARNING_RATE]
    main = next((name for name in order if name not in given), None)
    found = [Axis(main, axis.values) if axis.name == OWN and main else axis for axis in axes]
    return tuple(axis for axis in found if axis.name != OWN)


def make_search(
    objective: Objective,
    request: Request,
    axes: tuple[Axis, ...],
    params: Mapping[str, float],
    *,
    trials: int,
    suite: Suite,
    steps: int,
) -> Search:
    """The search of one objective, checked whole: every point is in range and fits the number of steps.

    Raises:
        UsageError: an axis that the objective has not, one both swept and set, or a value out of range.
    """
    spaces: dict[str, Space] = {name: param.space for name, param in objective.params.items()}
    spaces[LEARNING_RATE] = Log(*suite.learning_rates)
    fixed = {name: value for name, value in params.items() if name in objective.params}
    axes = own_axes(objective, axes, fixed=fixed)
    try:
        tried = points(axes, spaces=spaces, trials=trials) if axes else ({},)
        drawn = distributions(axes, spaces) if axes and request.sampler != "grid" else None
        for point in tried:
            schedule_of = objective.resolve({k: v for k, v in {**fixed, **point}.items() if k != LEARNING_RATE})
            objective.reference_schedule(schedule_of).boundaries(steps)
    except SweepError as error:
        raise UsageError(
            f"--sweep {','.join(map(str, axes))}, for {objective.name}: {error.problem}", fix=error.fix
        ) from error
    except ValueError as error:
        raise UsageError(
            str(error), fix="give another value: --set or --sweep; `bench losses show NAME` has the ranges"
        ) from error
    if doubled := sorted({axis.name for axis in axes} & set(fixed)):
        raise UsageError(f"{doubled[0]!r} is both swept and set", fix="drop it from --sweep or from --set")
    if drawn is not None:
        # A sampler draws the settings one by one; until then they have names but no values.
        tried = tuple({} for _ in range(trials))
    return Search(objective=objective, axes=axes, points=tuple(tried), distributions=drawn, fixed=fixed)


def points_text(points: Sequence[Mapping[str, float]]) -> str:
    """Return settings for people: values of one parameter in a row, «beta 0.01, 0.1», other settings one a line."""
    names = {tuple(point) for point in points}
    if len(names) == 1 and len(next(iter(names))) == 1:
        (name,) = next(iter(names))
        return f"{name} {', '.join(f'{point[name]:g}' for point in points)}"
    return "\n".join(" ".join(f"{name}={value:g}" for name, value in point.items()) or "defaults" for point in points)


def finished_runs(
    search: Search, workspace: Workspace, *, seeds: Sequence[int], final_seeds: Sequence[int]
) -> tuple[int, int]:
    """Return how many trainings of a search lie whole already: of its settings, and of its fresh seeds, each of which
    belongs to one setting, whichever was chosen."""

    def is_there(point: Mapping[str, float], seed: int) -> bool:
        return is_complete(workspace.results / "runs" / search.spec(workspace, dict(point), seed=seed).key)

    tried = sum(is_there(point, seed) for point in search.points for seed in seeds)
    return tried, sum(any(is_there(point, seed) for point in search.points) for seed in final_seeds)


STAGES = "stages"


def stage_settings(
    objective: Objective, params: Mapping[str, float], axes: Sequence[Axis], *, sets: Sequence[SetSpec]
) -> dict[str, float]:
    """Return ``params`` with the objective's number of stages, where it has one and the data are several sets.

    Raises:
        UsageError: another number of stages was set, written into an expression, or is to be swept.
    """
    if not sets:
        return dict(params)
    names = [name for name, param in objective.params.items() if param.schedule and name.split("_")[-1] == STAGES]
    found = {**params, **dict.fromkeys(names, float(len(sets)))}
    fix = f"each set is a stage: stages={len(sets)}, or leave it out"
    for name in names:
        if params.get(name, found[name]) != found[name]:
            raise UsageError(f"{name}={params[name]:g}, and --data gives {len(sets)} sets", fix=fix)
        if any(axis.name == name for axis in axes):
            raise UsageError(f"--sweep {name}: --data gives {len(sets)} sets", fix=fix)
    own = {name: value for name, value in found.items() if name in objective.params}
    stages = objective.reference_schedule(own).stages
    if stages not in (1, len(sets)):
        raise UsageError(f"{objective.name} has {stages} stages, and --data gives {len(sets)} sets", fix=fix)
    return found
