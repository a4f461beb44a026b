"""Owns tests of one against another on the same seeds and prompts, and the correction for many of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.crossed import Array, as_table, crossed_interval
from bench.stats.intervals import LEVEL, Interval

SMALLEST = 1e-12
"""Smaller p-values are given as 0: the tails of no model are known so far out."""


@dataclass(frozen=True)
class PairedTest:
    """The mean of first − second with its interval, and the two-sided p-value of «no difference»."""

    difference: Interval
    p: float


def paired_test(first: ArrayLike, second: ArrayLike, *, level: float = LEVEL) -> PairedTest:
    """Return the mean of first − second (each seeds × prompts, the same seeds and prompts) with interval and p-value.

    The interval is ``crossed_interval`` of the differences, so what a prompt adds to both drops out. ``p`` is 1 minus
    the highest level whose interval leaves out 0: p < 1 − level exactly where the interval does not hold 0. It is 1
    where the mean is 0, 0 below 1e-12, and NaN where one seed and one prompt give no interval. Raises ValueError for
    tables of different shapes.
    """
    gaps = _differences(first, second)
    found = crossed_interval(gaps, level=level)
    return PairedTest(found, math.nan if math.isnan(found.low) else _p_value(gaps, mean=found.mean))


def holm(ps: Sequence[float]) -> list[float]:
    """Return ``ps`` adjusted for being many, in the order given: the family-wise error of all p < α is at most α.

    Holm (1979, Scand. J. Stat. 6, 65): the k-th smallest of m is multiplied by m − k + 1, and none falls below a
    smaller one. Raises ValueError for what is no probability.
    """
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"p-values lie between 0 and 1, got {list(ps)}")
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[at]))
        adjusted[at] = largest
    return adjusted


def probability_of_improvement(first: ArrayLike, second: ArrayLike, *, level: float = LEVEL) -> Interval:
    """Return P(first > second) + P(equal)/2 on one new prompt, for a new seed of each; 0.5 is «no better».

    Both are seeds × prompts, with the same prompts and as many seeds. All pairs of a seed of the first and one of the
    second are compared (Agarwal et al. 2021, arXiv 2108.13264, who resample). The interval is ``crossed_interval`` of
    what each seed adds on each prompt, its placements against the other's seeds on both sides (DeLong et al. 1988,
    Biometrics 44, 837), cut to [0, 1]; it has no width where one side wins all. Raises ValueError for other shapes.
    """
    _differences(first, second)
    found = crossed_interval(placements(as_table(first), as_table(second)), level=level)
    low, high = (float(np.clip(side, 0, 1)) for side in (found.low, found.high))
    return Interval(float(np.clip(found.mean, 0, 1)), low, high, found.source, found.n)


def placements(first: Array, second: Array) -> Array:
    """Return what each seed adds on each prompt (…, seeds, prompts) to P(first > second); the mean is the estimate.

    The k-th seed's share of the wins as one of the first, plus that as one of the second, less the prompt's share of
    all pairs, which both hold.
    """
    wins = (np.sign(first[..., :, None, :] - second[..., None, :, :]) + 1) / 2
    return wins.mean(axis=-2) + wins.mean(axis=-3) - wins.mean(axis=(-3, -2), keepdims=True)[..., 0, :]


def _differences(first: ArrayLike, second: ArrayLike) -> Array:
    left, right = as_table(first), as_table(second)
    if left.shape != right.shape:
        raise ValueError(f"paired scores need the same seeds and the same prompts: got {left.shape} and {right.shape}")
    return left - right


def _p_value(gaps: Array, *, mean: float) -> float:
    from scipy.optimize import brentq

    def excess(log_p: float) -> float:
        return crossed_interval(gaps, level=-math.expm1(log_p)).half - abs(mean)

    smallest = math.log(SMALLEST)
    if mean == 0:
        return 1.0
    return math.exp(brentq(excess, smallest, 0.0, xtol=1e-10)) if excess(smallest) > 0 else 0.0
