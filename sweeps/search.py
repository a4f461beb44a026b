"""What is searched: the text of a sweep, its axes, the grid that fits a budget, and Optuna's distributions."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from losses.space import Choice, Log, Space
from sweeps.errors import SweepError, SweepSyntaxError, did_you_mean

DEFAULT_TRIALS = 5
DEFAULT_TRIALS_PER_AXIS = 3

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})


@dataclass(frozen=True)
class Axis:
    """One parameter of a sweep; ``values`` is None where the parameter's own space says what to try.

    Raises:
        SweepError: when ``values`` is empty, holds a value twice or holds one that is not finite.
    """

    name: str
    values: tuple[float, ...] | None

    def __post_init__(self) -> None:
        values = self.values
        if values is None:
            return
        if not values or len(set(values)) < len(values) or not all(map(math.isfinite, values)):
            raise SweepError(
                f"axis {self.name!r} has the values {values!r}",
                fix="give one or more different finite numbers, or none to search the parameter's whole space",
            )

    def __str__(self) -> str:
        return self.name if self.values is None else f"{self.name}={','.join(map(repr, self.values))}"


def parse_sweep(text: str) -> tuple[Axis, ...]:
    """Read ``"beta"``, ``"beta,lr"``, ``"beta=0.01,0.1,lr=1e-4,3e-4"``: ``",".join(map(str, axes))`` gives it back.

    A number continues the axis whose ``name=`` stands before it; a name starts a new axis.

    Raises:
        SweepSyntaxError: for text that holds anything else, an axis twice or a value twice in one axis.
    """
    axes: dict[str, list[float] | None] = {}
    current: str | None = None
    for raw in text.split(","):
        part = raw.strip()
        if "=" in part:
            name, _, value = (piece.strip() for piece in part.partition("="))
            current = _new_axis(name, axes, text=text, part=part)
            axes[current] = [_number(value, text=text, part=part)]
        elif _NUMBER.fullmatch(part):
            _continue_axis(part, current, axes, text=text)
        else:
            current = _new_axis(part, axes, text=text, part=part)
            axes[current] = None
    return tuple(Axis(name, None if values is None else tuple(values)) for name, values in axes.items())


def points(axes: Sequence[Axis], *, spaces: Mapping[str, Space], trials: int | None) -> tuple[dict[str, float], ...]:
    """Return the grid, the last axis changing fastest.

    Explicit values are taken as they stand, whatever the budget. The axes without values share what is left of
    ``trials``: near-equal numbers of values whose product fits, at least 2 an axis (an earlier axis gets the odd
    one). Without ``trials``: 5 values for one such axis, 3 each for several.

    Raises:
        SweepError: for an axis that ``spaces`` does not know, or fewer trials than the smallest grid.
    """
    _check_known(axes, spaces)
    counts = _counts(axes, spaces=spaces, trials=trials)
    columns = [axis.values if axis.values is not None else spaces[axis.name].grid(counts[axis.name]) for axis in axes]
    names = [axis.name for axis in axes]
    return tuple(dict(zip(names, map(float, values), strict=True)) for values in itertools.product(*columns))


def distributions(axes: Sequence[Axis], spaces: Mapping[str, Space]) -> dict[str, BaseDistribution]:
    """Return Optuna's form of each axis: log or linear floats for a range, categories for values and choices.

    Raises:
        SweepError: for an axis that ``spaces`` does not know.
    """
    _check_known(axes, spaces)
    return {axis.name: _distribution(axis, spaces[axis.name]) for axis in axes}


def _distribution(axis: Axis, space: Space) -> BaseDistribution:
    if axis.values is not None:
        return CategoricalDistribution(axis.values)
    if isinstance(space, Choice):
        return CategoricalDistribution(space.values)
    return FloatDistribution(space.low, space.high, log=isinstance(space, Log))


def _new_axis(name: str, axes: Iterable[str], *, text: str, part: str) -> str:
    if not name:
        raise _syntax(text, part, "there is nothing where a name belongs", "drop the comma or write name=value")
    if name.lower() in _NOT_FINITE:
        raise _syntax(text, part, f"{name!r} is not a finite number", "give finite numbers only")
    if not _NAME.fullmatch(name):
        raise _syntax(text, part, f"{name!r} is neither a name nor a number", 'write it like "beta=0.01,0.1,lr"')
    if name in axes:
        raise _syntax(text, part, f"{name!r} is there twice", f'put all its values in one place: "{name}=0.1,0.2"')
    return name


def _continue_axis(part: str, current: str | None, axes: Mapping[str, list[float] | None], *, text: str) -> None:
    values = None if current is None else axes[current]
    if values is None:
        where = "no name stands before it" if current is None else f"{current!r} before it has no '='"
        raise _syntax(text, part, where, f'write "{current or "beta"}={part}"')
    value = _number(part, text=text, part=part)
    if value in values:
        raise _syntax(text, part, f"{current!r} has this value already", "give each value once")
    values.append(value)


def _number(value: str, *, text: str, part: str) -> float:
    number = float(value) if _NUMBER.fullmatch(value) else math.nan
    if not math.isfinite(number):
        raise _syntax(text, part, f"{value!r} is not a finite number", 'write numbers like 0.1 or 3e-4 after the "="')
    return number


def _syntax(text: str, part: str, problem: str, fix: str) -> SweepSyntaxError:
    return SweepSyntaxError(f"sweep {text!r}, at {part!r}: {problem}", fix=fix)


def _check_known(axes: Sequence[Axis], spaces: Mapping[str, Space]) -> None:
    for axis in axes:
        if axis.name not in spaces:
            raise SweepError(f"there is no parameter {axis.name!r} to sweep", fix=did_you_mean(axis.name, spaces))


def _counts(axes: Sequence[Axis], *, spaces: Mapping[str, Space], trials: int | None) -> dict[str, int]:
    """Return the number of values of each axis that has none of its own."""
    free = [axis.name for axis in axes if axis.values is None]
    if not free:
        return {}
    explicit = math.prod(len(axis.values) for axis in axes if axis.values is not None)
    if trials is None:
        return dict.fromkeys(free, DEFAULT_TRIALS if len(free) == 1 else DEFAULT_TRIALS_PER_AXIS)
    most = {name: _size(spaces[name]) for name in free}
    counts = {name: 1 if len(free) == 1 or most[name] == 1 else 2 for name in free}
    least = explicit * math.prod(counts.values())
    if trials < least:
        raise SweepError(
            f"trials={trials} is too few to sweep {', '.join(map(str, axes))}: the smallest grid has {least} points",
            fix=f"give {least} trials or more, or fewer axes",
        )
    return _grown(counts, most=most, budget=trials // explicit)


def _size(space: Space) -> float:
    return len(space.values) if isinstance(space, Choice) else math.inf


def _grown(counts: Mapping[str, int], *, most: Mapping[str, float], budget: int) -> dict[str, int]:
    """Raise the smallest counts first, for as long as the product fits: they stay within one of each other."""
    grown = dict(counts)
    while True:
        open_axes = [name for name in grown if grown[name] < most[name]]
        if not open_axes:
            return grown
        smallest = min(open_axes, key=lambda name: grown[name])
        product = math.prod(grown.values()) // grown[smallest] * (grown[smallest] + 1)
        if product > budget:
            return grown
        grown[smallest] += 1
