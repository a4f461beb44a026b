"""The search of one objective: its axes, and the grid or the space of the settings that it is tried at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from optuna.distributions import BaseDistribution

from bench.core.manifest import is_complete
from bench.core.request import LEARNING_RATE, SamplerName
from bench.core.specs import RunSpec, SetSpec
from bench.errors import UsageError
from bench.runner.keys import run_spec
from bench.runner.workspace import Workspace
from bench.suites.settings import Suite
from bench.train.sampler import check_stages
from losses import Objective
from losses.space import Log, Space
from sweeps.errors import SweepError
from sweeps.search import Axis, distributions, parse_sweep, points

OWN = "own"
"""The axis that is each objective's main parameter."""

Point = dict[str, float]


class Design(TypedDict, total=False):
    """What a study is opened with: the points of a grid, or the distributions of a sampler."""

    points: Sequence[Point]
    distributions: Mapping[str, BaseDistribution]


@dataclass(frozen=True, kw_only=True)
class Search:
    """The settings that one objective is tried at.

    Fields:
        points: the grid; of a sampler as many empty ones as it has trials.
        params: by the items of each point of the grid, a checked value for every parameter; empty for a sampler.
        distributions: the space of a sampler; None for the grid.
        fixed: the values of ``--set``.
    """

    objective: Objective
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    params: Mapping[frozenset[tuple[str, float]], Mapping[str, float]]
    distributions: Mapping[str, BaseDistribution] | None
    fixed: Mapping[str, float]

    @property
    def trials(self) -> int:
        """How many settings are tried."""
        return len(self.points)

    @property
    def design(self) -> Design:
        """What the study is opened with: the grid, or the space that a sampler draws from."""
        if self.distributions is not None:
            return {"distributions": self.distributions}
        return {"points": self.points}

    def spec(self, workspace: Workspace, point: Mapping[str, float], *, seed: int) -> RunSpec:
        """Return the run at a point. Raises ValueError for a point outside the grid with a value out of range."""
        rate = {**self.fixed, **point}.get(LEARNING_RATE, workspace.train.learning_rate)
        return run_spec(workspace, self.objective, self._params_at(point), learning_rate=rate, seed=seed)

    def _params_at(self, point: Mapping[str, float]) -> Mapping[str, float]:
        """Return a checked value for every parameter: those of the grid were checked when it was made."""
        known = self.params.get(frozenset(point.items()))
        return resolved(self.objective, self.fixed, point) if known is None else known


def resolved(objective: Objective, fixed: Mapping[str, float], point: Mapping[str, float]) -> dict[str, float]:
    """Return a value for every parameter of an objective at a point. Raises ValueError for one out of range."""
    return objective.resolve({name: value for name, value in {**fixed, **point}.items() if name != LEARNING_RATE})


def axes_of(sweep: str | None, preset: tuple[str, ...]) -> tuple[Axis, ...]:
    """Return the axes of ``--sweep``, else those of the protocol. Raises UsageError for a text that is not a sweep."""
    text = sweep or ",".join(preset)
    try:
        return parse_sweep(text) if text else ()
    except SweepError as error:
        raise UsageError(f"--sweep {text}: {error.problem}", fix=error.fix) from error


def own_axes(objective: Objective, axes: tuple[Axis, ...], *, fixed: Collection[str]) -> tuple[Axis, ...]:
    """Replace the axis «own» by the objective's main parameter: β, or its first one that is neither swept nor fixed.

    An objective that has none left is tried at as many learning rates instead.
    """
    taken = {axis.name for axis in axes} | set(fixed)
    order = [*(["beta"] if "beta" in objective.params else []), *objective.params, LEARNING_RATE]
    main = next((name for name in order if name not in taken), None)
    replaced = [Axis(main, axis.values) if axis.name == OWN and main else axis for axis in axes]
    return tuple(axis for axis in replaced if axis.name != OWN)


def make_search(
    objective: Objective,
    axes: tuple[Axis, ...],
    params: Mapping[str, float],
    *,
    sampler: SamplerName,
    trials: int,
    suite: Suite,
    steps: int,
) -> Search:
    """Return the search of one objective, checked whole: every point is in range and fits the number of steps.

    Raises:
        UsageError: an axis that the objective has not, one both swept and set, or a value out of range.
    """
    spaces: dict[str, Space] = {name: param.space for name, param in objective.params.items()}
    spaces[LEARNING_RATE] = Log(*suite.learning_rates)
    fixed = {name: value for name, value in params.items() if name in objective.params}
    axes = own_axes(objective, axes, fixed=fixed)
    try:
        grid = points(axes, spaces=spaces, trials=trials) if axes else ({},)
        drawn = distributions(axes, spaces) if axes and sampler != "grid" else None
        settings = {frozenset(point.items()): resolved(objective, fixed, point) for point in grid}
        for values in settings.values():
            objective.bind(values).schedule.boundaries(steps)
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
        grid, settings = tuple({} for _ in range(trials)), {}
    return Search(objective=objective, axes=axes, points=tuple(grid), params=settings, distributions=drawn, fixed=fixed)


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
    """Return how many trainings of a search are finished: of its settings, and of its fresh seeds.

    Each fresh seed belongs to one setting, whichever was chosen.
    """

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
    values = {**params, **dict.fromkeys(names, float(len(sets)))}
    for name in names:
        if name in params:
            check_stages(f"{name}={params[name]:g}", params[name], sets=len(sets))
        if any(axis.name == name for axis in axes):
            check_stages(f"--sweep {name}", None, sets=len(sets))
    own = {name: value for name, value in values.items() if name in objective.params}
    stages = objective.bind(objective.resolve(own)).schedule.stages
    if stages != 1:
        check_stages(f"{objective.name} has {stages} stages", stages, sets=len(sets))
    return values
