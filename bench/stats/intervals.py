"""Means with confidence intervals: Student's t over seeds, or normal over prompts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval. ``low`` and ``high`` are NaN where the numbers give none."""

    mean: float
    low: float
    high: float
    source: Literal["seeds", "prompts", "crossed", "bootstrap", "none"]
    n: int

    @property
    def half(self) -> float:
        """Half the interval's width, in the unit of the mean."""
        return (self.high - self.low) / 2

    def times(self, factor: float) -> "Interval":
        """Return the interval of ``factor`` times the mean: per cent of a share, or −1 for the opposite difference."""
        low, high = factor * self.low, factor * self.high
        return Interval(factor * self.mean, *((low, high) if factor >= 0 else (high, low)), self.source, self.n)

    def cut(self, low: float, high: float) -> "Interval":
        """Return the part between ``low`` and ``high``, the mean as it is."""
        return Interval(self.mean, max(self.low, low), min(self.high, high), self.source, self.n)


def bare(value: float) -> Interval:
    """Return a number without an interval as one, NaN where there is no number."""
    return Interval(value, math.nan, math.nan, "none", 0)


def mean_interval(values: Sequence[float], *, stderrs: Sequence[float | None] = (), level: float = LEVEL) -> Interval:
    """Return the mean of ``values`` (one a seed) with the interval that the numbers allow.

    Two seeds or more: Student's t over the seeds' values. One seed: the normal interval of its standard error over
    prompts, which knows nothing of what another seed would give. Neither: no interval. No values: NaN.
    """
    if not values:
        return bare(math.nan)
    if len(values) > 1:
        return t_interval(values, level=level)
    stderr = stderrs[0] if stderrs else None
    if stderr is None:
        return Interval(values[0], math.nan, math.nan, "none", 1)
    return normal_interval(values[0], stderr=stderr, level=level)


def t_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Return mean ± t · s/√n over two or more independent values. Raises ValueError for fewer."""
    from scipy.special import stdtrit

    if len(values) < 2:
        raise ValueError(f"a t-interval needs two values or more, got {len(values)}")
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * math.sqrt(variance / len(values))
    return Interval(mean, mean - half, mean + half, "seeds", len(values))


def normal_interval(mean: float, *, stderr: float, level: float = LEVEL) -> Interval:
    """Return mean ± z · stderr, for a mean over many prompts. Raises ValueError for a negative standard error."""
    from scipy.special import ndtri

    if not stderr >= 0:
        raise ValueError(f"a standard error is 0 or more, got {stderr}")
    half = float(ndtri(0.5 + level / 2)) * stderr
    return Interval(mean, mean - half, mean + half, "prompts", 1)
