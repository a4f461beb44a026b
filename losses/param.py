"""A parameter of an objective, ``Param``, and how a user's values are checked and completed."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from losses.space import Choice, Space


class UnknownParameter(ValueError):  # noqa: N818
    """A name that the objective has no parameter for."""


class ParameterOutOfRange(ValueError):  # noqa: N818
    """A value that the formula has no meaning for, or that is not a number."""


@dataclass(frozen=True)
class Param:
    """One parameter of an objective.

    Fields:
        default: the value where none is given; the only place that holds it.
        space: what a sweep tries.
        symbol: as in the paper.
        unit: "1" for a pure number, else as in "1/nat" or "optimiser steps".
        meaning: what it does as it grows, one line.
        low, high: the values that are accepted, both ends included; at least as wide as ``space``.
        integer: whether only whole numbers are accepted.
        schedule: whether it only shapes the reference schedule and so never reaches the loss function.

    Raises:
        ValueError: when the default is not accepted, or the space reaches beyond ``low`` and ``high``.
    """

    default: float | int
    space: Space
    symbol: str
    unit: str
    meaning: str
    low: float | int
    high: float | int
    integer: bool = False
    schedule: bool = False

    def __post_init__(self) -> None:
        for value in (self.default, *self.space.grid(2)):
            if not self.accepts(value):
                raise ValueError(f"parameter {self.symbol}: {value!r} is outside {self.low!r} to {self.high!r}")
        if self.integer and not isinstance(self.space, Choice):
            raise ValueError(f"parameter {self.symbol}: a whole number needs a Choice of whole numbers as its space")

    def accepts(self, value: float | int) -> bool:
        """Say whether ``value`` is a number that the formula is meant for."""
        return self.low <= value <= self.high and not (self.integer and value % 1 != 0)

    def describe(self, name: str) -> str:
        """Return «beta (τ, 0.01 to 10, default 0.1)»: name, symbol, what a sweep tries, default."""
        return f"{name} ({self.symbol}, {self.space}, default {self.default:g})"


def resolve_params(owner: str, params: Mapping[str, Param], values: Mapping[str, object]) -> dict[str, float]:
    """Return a value for each parameter, in the order of ``params``: the user's, else the default.

    Args:
        owner: what the parameters belong to, for messages: "objective 'ipo'".
        params: the parameters.
        values: by name.

    Raises:
        UnknownParameter: when a name is none of ``params``.
        ParameterOutOfRange: when a value is not accepted.
    """
    for name in values:
        if name not in params:
            known = ", ".join(param.describe(key) for key, param in params.items()) or "no parameters"
            raise UnknownParameter(f"{owner} has no parameter {name!r}; {suggest(name, params)}it has: {known}")
    return {name: _checked(owner, name, param, values.get(name, param.default)) for name, param in params.items()}


def suggest(name: str, known: Iterable[str]) -> str:
    """Return «did you mean 'beta'? » where a known name is close to ``name``, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? " if close else ""


def _checked(owner: str, name: str, param: Param, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and param.accepts(value):
        return float(value)
    what = "whole numbers from" if param.integer else "values from"
    raise ParameterOutOfRange(
        f"{owner}: {name}={value!r} cannot be used; it takes {what} {param.low:g} to {param.high:g}, "
        f"usual: {param.describe(name)}"
    )
