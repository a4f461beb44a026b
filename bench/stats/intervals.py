"""Owns means with intervals: over seeds, over prompts, and of paired differences. Pure functions of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def mean_interval(values: Sequence[float], *, stderrs: Sequence[float | None] = (), level: float = LEVEL) -> Interval:
    """Return the mean of ``values`` (one a seed) with the interval that the numbers allow.

    Two seeds or more: Student's t over the seeds' values. One seed: the normal interval of its standard error over
    prompts, which knows nothing of what another seed would give. Neither: no interval. No values: NaN.
    """
    if not values:
        return Interval(math.nan, math.nan, math.nan, "none", 0)
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


def bootstrap_interval(
    scores: ArrayLike, *, rng: np.random.Generator, resamples: int = 2000, level: float = LEVEL
) -> Interval:
    """Return the mean of ``scores`` (seeds × prompts) with a percentile interval over new seeds and new prompts.

    Seeds and prompts are drawn anew with replacement, each prompt with all its seeds: every seed is scored on the same
    prompts, so their noise does not average out over seeds. Raises ValueError for fewer than three seeds, where the
    bootstrap is known to be far too narrow.
    """
    table = _table(scores)
    seeds, prompts = table.shape
    if seeds < 3:
        raise ValueError(f"a bootstrap over seeds needs three seeds or more, got {seeds}; use t_interval")
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    columns = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples) / prompts
    return _percentile(table, np.einsum("rs,sp,rp->r", rows, table, columns, optimize=True), seeds, level)


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, *, rng: np.random.Generator, resamples: int = 2000, level: float = LEVEL
) -> Interval:
    """Return mean(first − second) with a percentile interval over prompts; both are (prompts) or (seeds × prompts).

    The same prompts stand in the same columns, so what a prompt adds to both drops out of the difference. Raises
    ValueError where the numbers of prompts differ.
    """
    left, right = _table(first), _table(second)
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"paired scores need the same prompts: got {left.shape[1]} and {right.shape[1]}")
    gaps = (left.mean(axis=0) - right.mean(axis=0))[None, :]
    prompts = gaps.shape[1]
    weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples) / prompts
    return _percentile(gaps, weights @ gaps[0], prompts, level)


def paired_difference(first: dict[int, float], second: dict[int, float], *, level: float = LEVEL) -> Interval:
    """Return mean(first − second) over the seeds that both have, with a t-interval where there are two or more."""
    return mean_interval([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())], level=level)


def _percentile(table: NDArray[np.float64], means: NDArray[np.float64], n: int, level: float) -> Interval:
    mean = float(table.mean())
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    # a constant table gives means that differ from its mean by rounding
    return Interval(mean, min(float(low), mean), max(float(high), mean), "bootstrap", n)


def _table(scores: ArrayLike) -> NDArray[np.float64]:
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"scores must be finite, (seeds × prompts) and not empty; got the shape {table.shape}")
    return table
