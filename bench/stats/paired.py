"""Owns tests of one against another on the same seeds and prompts, and the correction for many of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.crossed import as_table, crossed_interval, mean_variance
from bench.stats.intervals import LEVEL, Interval


@dataclass(frozen=True)
class PairedTest:
    """The mean of first − second with its interval, and the p-value of «no difference»."""

    difference: Interval
    p: float


def paired_test(first: ArrayLike, second: ArrayLike, *, level: float = LEVEL) -> PairedTest:
    """Return the difference of two tables (seeds × prompts) with common seeds and prompts, and its p-value."""
    from scipy.special import stdtr

    gaps = as_table(first) - as_table(second)
    variance, freedom = mean_variance(gaps)
    mean = float(gaps.mean())
    p = float(mean == 0) if variance == 0 else 2 * float(stdtr(freedom, -abs(mean) / variance**0.5))
    return PairedTest(crossed_interval(gaps, level=level), p)


def holm(ps: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[at]))
        adjusted[at] = largest
    return adjusted


def probability_of_improvement(
    first: ArrayLike, second: ArrayLike, *, rng: np.random.Generator, resamples: int = 1000, level: float = LEVEL
) -> Interval:
    """Return P(first > second) + P(equal)/2 on one prompt, over all pairs of seeds and the prompts."""
    left, right = as_table(first), as_table(second)
    wins = (np.sign(left[:, None, :] - right[None, :, :]) + 1) / 2

    def draw(n: int) -> np.ndarray:
        return rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=resamples) / max(n - 1, 1)

    means = np.einsum("ijp,ri,rj,rp->r", wins, *(draw(n) for n in wins.shape), optimize=True)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(wins.mean()), float(low), float(high), "bootstrap", left.shape[0])
