"""What a parameter may be in a sweep: ``Log``, ``Linear`` and ``Choice``. Standard library only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Log:
    """All values from ``low`` to ``high``, both included, even in the logarithm: for scales such as β.

    Raises:
        ValueError: unless 0 < low < high and both are finite.
    """

    low: float | int
    high: float | int

    def __post_init__(self) -> None:
        _check_ends(self)
        if self.low <= 0:
            raise ValueError(f"Log needs 0 < low, got low={self.low!r}; use Linear for a range that holds 0")

    def grid(self, n: int) -> tuple[float | int, ...]:
        """Return ``n`` different log-spaced values with both ends; ``n=1`` gives the geometric mean of the ends.

        Inner values are rounded to 3 significant digits, or to as many as it takes to tell them apart.
        """
        low, high = math.log(self.low), math.log(self.high)
        return _rounded([math.exp(low + share * (high - low)) for share in _shares(n)], self.low, self.high)

    def contains(self, value: float | int) -> bool:
        """Say whether ``low <= value <= high``; False for NaN."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Linear:
    """All values from ``low`` to ``high``, both included, evenly: for shares and weights.

    Raises:
        ValueError: unless low < high and both are finite.
    """

    low: float | int
    high: float | int

    def __post_init__(self) -> None:
        _check_ends(self)

    def grid(self, n: int) -> tuple[float | int, ...]:
        """Return ``n`` different evenly spaced values with both ends; ``n=1`` gives the middle.

        Inner values are rounded to 3 significant digits, or to as many as it takes to tell them apart.
        """
        return _rounded([self.low + share * (self.high - self.low) for share in _shares(n)], self.low, self.high)

    def contains(self, value: float | int) -> bool:
        """Say whether ``low <= value <= high``; False for NaN."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """A few named values, in the order they are given.

    Raises:
        ValueError: when ``values`` is empty, holds a value twice or holds one that is not finite.
    """

    values: tuple[float | int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values or len(set(self.values)) < len(self.values) or not all(map(math.isfinite, self.values)):
            raise ValueError(f"Choice needs one or more different finite values, got {self.values!r}")

    def grid(self, n: int) -> tuple[float | int, ...]:
        """Return the values; where ``n`` is smaller than their number, ``n`` of them spread over the order."""
        last = len(self.values) - 1
        if n > last:
            return self.values
        return tuple(self.values[round(share * last)] for share in _shares(n))

    def contains(self, value: float | int) -> bool:
        """Say whether ``value`` is one of the values."""
        return value in self.values

    def __str__(self) -> str:
        return "one of " + ", ".join(f"{value:g}" for value in self.values)


Space = Log | Linear | Choice


def _check_ends(space: Log | Linear) -> None:
    if not (math.isfinite(space.low) and math.isfinite(space.high) and space.low < space.high):
        raise ValueError(f"{type(space).__name__} needs finite low < high, got low={space.low!r}, high={space.high!r}")


def _shares(n: int) -> list[float | int]:
    if n < 1:
        raise ValueError(f"a grid needs at least 1 value, got n={n!r}")
    return [0.5] if n == 1 else [index / (n - 1) for index in range(n)]


def _rounded(values: Sequence[float | int], low: float | int, high: float | int) -> tuple[float | int, ...]:
    """Round to the fewest digits, 3 or more, that keep the values apart; the ends of a range stay exact."""
    for digits in range(3, 18):
        inner = [min(max(float(f"{value:.{digits}g}"), low), high) for value in values]
        grid = (low, *inner[1:-1], high) if len(inner) > 1 else tuple(inner)
        if len(set(grid)) == len(values):
            return grid
    raise ValueError(f"there are not {len(values)} different numbers between {low!r} and {high!r}")
