"""Tests of one against another on the same seeds and prompts, and the correction for many of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.crossed import Array, as_table, crossed_interval, half_width, mean_squares
from bench.stats.intervals import LEVEL, Interval

SMALLEST = 1e-12
"""Smaller p-values are given as 0: the tails of no model are known so far out."""
HALVINGS = 48
"""Bisections of log p, from log 1e-12 to 0: p is right to a part in 1e13."""


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
    return paired_tests([(first, second)], level=level)[0]


def paired_tests(pairs: Sequence[tuple[ArrayLike, ArrayLike]], *, level: float = LEVEL) -> list[PairedTest]:
    """Return ``paired_test`` of each pair. All p-values of one shape are searched for at once, not pair by pair."""
    gaps = [_differences(first, second) for first, second in pairs]
    intervals = [crossed_interval(each, level=level) for each in gaps]
    ps = [math.nan] * len(pairs)
    for shape in {each.shape for each in gaps} - {(1, 1)}:
        indices = [index for index, each in enumerate(gaps) if each.shape == shape]
        for index, p in zip(indices, _p_values(np.stack([gaps[index] for index in indices])), strict=True):
            ps[index] = float(p)
    return [PairedTest(interval, p) for interval, p in zip(intervals, ps, strict=True)]


def holm(ps: Sequence[float]) -> list[float]:
    """Return ``ps`` adjusted for being many, in the order given: the family-wise error of all p < α is at most α.

    Holm (1979, Scand. J. Stat. 6, 65): the k-th smallest of m is multiplied by m − k + 1, and none falls below a
    smaller one. Raises ValueError for what is no probability.
    """
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"p-values lie between 0 and 1, got {list(ps)}")
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def probability_of_improvement(first: ArrayLike, second: ArrayLike, *, level: float = LEVEL) -> Interval:
    """Return P(first > second) + P(equal)/2 on one new prompt, for a new seed of each; 0.5 is «no better».

    Both are seeds × prompts, with the same prompts and as many seeds. All pairs of a seed of the first and one of the
    second are compared (Agarwal et al. 2021, arXiv 2108.13264, who resample). The interval is ``crossed_interval`` of
    what each seed adds on each prompt, its placements against the other's seeds on both sides (DeLong et al. 1988,
    Biometrics 44, 837), cut to [0, 1]; it has no width where one side wins all. Raises ValueError for other shapes.
    """
    _differences(first, second)
    interval = crossed_interval(placements(as_table(first), as_table(second)), level=level)
    low, high = (float(np.clip(side, 0, 1)) for side in (interval.low, interval.high))
    return Interval(float(np.clip(interval.mean, 0, 1)), low, high, interval.source, interval.n)


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


def _p_values(gaps: Array) -> Array:
    """Return the p-value of each table of ``gaps`` (tests, seeds, prompts), of more than one score each."""
    _, seeds, prompts = gaps.shape
    distance = np.abs(gaps.mean(axis=(1, 2)))
    if seeds > 1 and prompts > 1:
        squares = mean_squares(gaps)
        ps = p_by_bisection(lambda level: half_width(squares, level=level), distance)
    else:
        error = gaps.std(axis=(1, 2), ddof=1) / math.sqrt(seeds * prompts)
        ps = student_p(distance, error, freedom=math.inf if seeds == 1 else seeds - 1)
    return np.where(distance == 0, 1.0, np.where(ps <= SMALLEST, 0.0, ps))


def student_p(distance: ArrayLike, error: ArrayLike, *, freedom: float) -> Array:
    """Return Student's two-sided p (…) of a mean at ``distance`` from 0, with its standard error; 1 at distance 0.

    Without any error, p is 0 at any distance but 0. ``freedom``: degrees of freedom; infinite: the normal law.
    """
    from scipy.special import ndtr, stdtr

    far, error = np.abs(np.asarray(distance, dtype=np.float64)), np.asarray(error, dtype=np.float64)
    ratio = np.divide(far, error, out=np.where(far > 0, np.inf, 0.0), where=error > 0)
    return 2 * (ndtr(-ratio) if math.isinf(freedom) else stdtr(freedom, -ratio))


def p_by_bisection(half_width_at: Callable[[Array], Array], distance: Array) -> Array:
    """Return the p at which each half-width is ``distance``; 0 where it is smaller at ``SMALLEST``.

    ``half_width_at`` takes levels and gives half-widths, one each distance; they fall as p grows. Those that have
    several t quantiles of different degrees of freedom in them have no closed form.
    """
    low, high = np.full_like(distance, math.log(SMALLEST)), np.zeros_like(distance)
    too_far = half_width_at(-np.expm1(low)) <= distance
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wider = half_width_at(-np.expm1(middle)) > distance
        low, high = np.where(wider, middle, low), np.where(wider, high, middle)
    return np.where(too_far, 0.0, np.exp((low + high) / 2))
