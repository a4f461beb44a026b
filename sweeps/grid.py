"""What a study's budget is made of: a slot for each point of a grid, or for each trial that a sampler chooses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution

from sweeps.errors import SweepError


@dataclass(frozen=True)
class Slot:
    """One unit of the budget; ``params`` is None where a sampler is still to choose them."""

    key: str
    params: Mapping[str, float] | None


def slots_of(
    points: Sequence[Mapping[str, float]] | None,
    distributions: Mapping[str, BaseDistribution] | None,
    trials: int | None,
) -> tuple[tuple[Slot, ...], Mapping[str, BaseDistribution]]:
    """Return the slots of a grid, or of a sampled study of so many trials; and the distribution of each parameter.

    Raises:
        SweepError: unless exactly one of points and distributions (with trials) is given.
    """
    if (points is None) == (distributions is None):
        raise SweepError("points and distributions are both given, or neither", fix="give exactly one of them")
    if points is None:
        if distributions is None or trials is None or trials < 1:
            raise SweepError(f"a sampled study got trials={trials}", fix="give its number of trials, 1 or more")
        return sampled_slots(trials), distributions
    slots = grid_slots(points)
    if trials is not None and trials != len(slots):
        raise SweepError(
            f"a grid of {len(slots)} points got trials={trials}", fix="leave trials out: a grid's budget is its points"
        )
    columns: dict[str, list[float]] = {}
    for slot in slots:
        for name, value in (slot.params or {}).items():
            columns.setdefault(name, []).append(value)
    return slots, {name: FloatDistribution(min(column), max(column)) for name, column in columns.items()}


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
