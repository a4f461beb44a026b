"""Paired tests on the same seeds and prompts, Holm's correction, and the probability of improvement."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.crossed import Array, MeanSquares, as_table, crossed_interval, half_width, mean_squares
from bench.stats.intervals import LEVEL, Interval

SMALLEST = 1e-12
"""Smaller p-values are given as 0: the tails of no model are known so far out."""
BISECTIONS = 50
"""Halvings of the logarithm of p from 1e-12 to 1: it is then known to 3e-14."""
BATCH = 4_000_000
"""Scores of the pairs that are tested together: 32 MB, and a few times as much while they are."""


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


def paired_tests(pairs: Iterable[tuple[ArrayLike, ArrayLike]], *, level: float = LEVEL) -> list[PairedTest]:
    """Return ``paired_test`` of each pair, in their order; pairs of one shape are computed together.

    Raises ValueError as ``paired_test`` does.
    """
    tests: dict[int, PairedTest] = {}
    waiting: dict[tuple[int, int], list[tuple[int, Array]]] = {}
    for index, (first, second) in enumerate(pairs):
        gaps = _differences(first, second)
        seeds, prompts = gaps.shape
        batch = waiting.setdefault((seeds, prompts), [])
        batch.append((index, gaps))
        if len(batch) * gaps.size >= BATCH:
            tests |= _tests_of_one_shape(waiting.pop((seeds, prompts)), level=level)
    for batch in waiting.values():
        tests |= _tests_of_one_shape(batch, level=level)
    return [tests[index] for index in range(len(tests))]


def holm(ps: Sequence[float]) -> list[float]:
    """Return ``ps`` adjusted for being many, in the order given: the family-wise error of all p < α is at most α.

    Holm (1979, Scand. J. Stat. 6, 65): the k-th smallest of m is multiplied by m − k + 1, and none falls below a
    smaller one. Raises ValueError for a value outside 0 to 1.
    """
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"p-values must be between 0 and 1, got {list(ps)}")
    adjusted, largest = [0.0] * len(ps), 0.0
    for smaller, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - smaller) * ps[index]))
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


def _tests_of_one_shape(batch: Sequence[tuple[int, Array]], *, level: float) -> dict[int, PairedTest]:
    """Return index → test of ``batch``, whose differences all have the same seeds × prompts."""
    tables = np.stack([gaps for _, gaps in batch])
    seeds, prompts = tables.shape[1:]
    if min(seeds, prompts) > 1:
        squares, means = mean_squares(tables), tables.mean(axis=(1, 2))
        ps, halves = _p_of_tables(squares, means), half_width(squares, level=level)
        intervals = [
            Interval(mean, mean - half, mean + half, "crossed", seeds)
            for mean, half in zip(means.tolist(), halves.tolist(), strict=True)
        ]
    else:
        intervals = [crossed_interval(table, level=level) for table in tables]
        means = np.array([interval.mean for interval in intervals])
        lone = seeds == prompts
        ps = np.full(len(batch), math.nan) if lone else _p_of_one_row(tables, means, normal=seeds == 1)
    return {index: PairedTest(interval, float(p)) for (index, _), interval, p in zip(batch, intervals, ps, strict=True)}


def _p_of_one_row(tables: Array, means: Array, *, normal: bool) -> Array:
    """Return the p-value (…) of each table's mean: normal over the prompts of one seed, or Student's t over seeds."""
    from scipy.special import ndtr, stdtr

    count = tables[0].size
    errors = tables.std(axis=(1, 2), ddof=1) / math.sqrt(count)
    ratios = np.divide(np.abs(means), errors, out=np.full_like(errors, np.inf), where=errors > 0)
    ps = 2 * (ndtr(-ratios) if normal else stdtr(count - 1, -ratios))
    return np.where(means == 0, 1.0, np.where(ps < SMALLEST, 0.0, ps))


def _p_of_tables(squares: MeanSquares, means: Array) -> Array:
    """Return the p-value (…) of each table's mean, at which the interval of level 1 − p ends at 0.

    The half-width falls as p rises, so all are bisected at once, on the logarithm of p.
    """

    def wider(log_p: Array) -> NDArray[np.bool_]:
        return half_width(squares, level=-np.expm1(log_p)) > np.abs(means)

    low, high = np.full_like(means, math.log(SMALLEST)), np.zeros_like(means)
    beyond = ~wider(low)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = wider(middle)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(means == 0, 1.0, np.where(beyond, 0.0, np.exp((low + high) / 2)))
