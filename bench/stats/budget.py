"""Value of a sweep's budget: the expected best of n trials, sensitivity, and the reward-KL frontier's area."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.stats.intervals import LEVEL, Interval

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Sensitivity:
    """The spread of a sweep's trials, in the target's unit; NaN where none finished. ``n`` includes the diverged."""

    best: float
    median: float
    worst: float
    range: float
    diverged: int
    n: int


def expected_best(
    values: Sequence[float], *, rng: np.random.Generator, resamples: int = 1000, level: float = LEVEL
) -> list[Interval]:
    """Return the expected best of n random trials out of a sweep's, for n = 1 to all of them, each with its interval.

    The quantity is that of Dodge et al. (2019, arXiv 1909.03004): E[max of n] = Σ v · P(max = v). Their estimator
    draws the n trials with replacement, which is too low; here they are drawn without, the unbiased estimator (Tang et
    al. 2020, arXiv 2004.13705): the i-th smallest of N is the best of n with probability C(i−1, n−1) / C(N, n). So
    n = 1 gives the mean of all, n = N the best. NaN, a trial that diverged, counts as the worst value that was reached:
    it never wins. The interval is the percentile bootstrap over trials, and a rough one: of 24 normal trials it held
    the truth in 93 % for n = 1, 91 % for 2, 83 % for 6 and 46 % for all 24, as no resample exceeds the best trial. All
    are NaN where no trial has a value; no trials give an empty list.
    """
    filled = np.sort(_worst_for_nan(values))
    if not len(filled):
        return []
    weights = _best_of(len(filled))
    draws = rng.integers(len(filled), size=(resamples, len(filled)))
    spread = np.sort(filled[draws], axis=1) @ weights
    means = filled @ weights
    low, high = np.quantile(spread, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    # of equal values the two differ by rounding
    sides = zip(means, np.minimum(low, means), np.maximum(high, means), strict=True)
    return [Interval(float(mean), float(one), float(other), "bootstrap", len(filled)) for mean, one, other in sides]


def sensitivity(values: Sequence[float]) -> Sensitivity:
    """Return the spread over a sweep's trials (the target's unit); NaN, a diverged trial, is counted and left out."""
    known = [value for value in values if not math.isnan(value)]
    diverged = len(values) - len(known)
    if not known:
        return Sensitivity(math.nan, math.nan, math.nan, math.nan, diverged, len(values))
    best, worst = max(known), min(known)
    return Sensitivity(best, float(np.median(known)), worst, best - worst, diverged, len(values))


def hypervolume(points: Points, *, kl_max: float, reward_min: float) -> float:
    """Return the area (nats × reward) that the points (kl, reward) dominate, up to ``kl_max``, above ``reward_min``.

    It is the integral over k from 0 to ``kl_max`` of the best reward at a KL of k or less, above ``reward_min``. Points
    beyond either bound and points with NaN add nothing. Raises ValueError unless ``kl_max`` is above 0.
    """
    if not kl_max > 0:
        raise ValueError(f"the largest KL is above 0 nats, got {kl_max}")
    area, best = 0.0, reward_min
    for kl, reward in sorted(_finite(points)):
        if kl < kl_max and reward > best:
            area += (kl_max - max(kl, 0.0)) * (reward - best)
            best = reward
    return area


def reward_at_kl(points: Points, budgets: Sequence[float]) -> list[float]:
    """Return the best reward of the points (kl, reward) within each KL budget (nats); NaN where there is none."""
    known = _finite(points)
    return [max((reward for kl, reward in known if kl <= budget), default=math.nan) for budget in budgets]


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(kl, reward) for kl, reward in points if math.isfinite(kl) and math.isfinite(reward)]


def _worst_for_nan(values: Sequence[float]) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    lost = np.isnan(found)
    return found if lost.all() else np.where(lost, found[~lost].min(), found)


def _best_of(trials: int) -> NDArray[np.float64]:
    """Return P(the i-th smallest is the best of n drawn) as (i, n), for n from 1 to ``trials``."""
    ways = [[math.comb(i, n) / math.comb(trials, n + 1) for n in range(trials)] for i in range(trials)]
    return np.asarray(ways, dtype=np.float64)
