"""Agreement of two judges on the same pairs: share, Cohen's κ and Kendall's τ-b, each with a 95 % interval."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import LEVEL

Array = NDArray[np.float64]
FEWEST = 4
"""Pairs from which τ is computed: over fewer, judges who have nothing in common agree entirely too often."""


@dataclass(frozen=True)
class Bounded:
    """A number with its interval; NaN where the verdicts give none."""

    value: float
    low: float
    high: float


NOTHING = Bounded(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class VerdictAgreement:
    """Two judges on ``n`` pairs that both judged.

    ``same``: share of the ``decided`` pairs, those where neither sees a tie, in which both prefer the same side.
    ``alike``: share of all pairs with the same verdict, a tie being a verdict. ``kappa``: Cohen's κ of these three
    verdicts, what ``alike`` is above chance. ``tau``: Kendall's τ-b of the preferences, which also sees how sure they
    are.
    """

    n: int
    decided: int
    same: Bounded
    alike: Bounded
    kappa: Bounded
    tau: Bounded


def verdict_agreement(first: ArrayLike, second: ArrayLike, *, level: float = LEVEL) -> VerdictAgreement:
    """Return how far two judges agree, pair by pair.

    Args:
        first, second: probability that a pair's second answer is better, ``[pairs]``, NaN where there is no verdict.

    Raises:
        ValueError: arrays of different shapes, or values that are no probabilities.
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (first, second))
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"verdicts of two judges are one each pair: got the shapes {a.shape} and {b.shape}")
    known = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[known], b[known]
    if not ((a >= 0) & (a <= 1) & (b >= 0) & (b <= 1)).all():
        raise ValueError("a verdict is a probability, between 0 and 1")
    decided = (a != 0.5) & (b != 0.5)
    sides = np.sign(a - 0.5), np.sign(b - 0.5)
    return VerdictAgreement(
        n=len(a),
        decided=int(decided.sum()),
        same=wilson(int((sides[0] == sides[1])[decided].sum()), int(decided.sum()), level=level),
        alike=wilson(int((sides[0] == sides[1]).sum()), len(a), level=level),
        kappa=_kappa(*sides, level=level),
        tau=_tau(a, b, level=level),
    )


def wilson(count: float, n: int, *, level: float = LEVEL) -> Bounded:
    """Return a share with Wilson's interval (1927, J. Am. Stat. Assoc. 22, 209), NaN of nothing."""
    from scipy.special import ndtri

    if n == 0:
        return NOTHING
    share, square = count / n, float(ndtri(0.5 + level / 2)) ** 2
    centre, weight = (share + square / (2 * n)) / (1 + square / n), 1 / (1 + square / n)
    half = weight * math.sqrt(square * (share * (1 - share) / n + square / (4 * n * n)))
    return Bounded(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def _kappa(first: Array, second: Array, *, level: float) -> Bounded:
    """Return κ (Cohen 1960, Educ. Psychol. Meas. 20, 37); NaN where both always say one and the same.

    Its interval is that of the share alike, turned into κ by the chance that the judges' habits give: it has a width
    also where all agree, which the normal one has not.
    """
    if not len(first):
        return NOTHING
    chance = sum(float((first == side).mean() * (second == side).mean()) for side in (-1.0, 0.0, 1.0))
    if chance >= 1.0:
        return NOTHING
    alike = wilson(int((first == second).sum()), len(first), level=level)
    value, low, high = ((each - chance) / (1.0 - chance) for each in (alike.value, alike.low, alike.high))
    return Bounded(value, low, high)


def _tau(first: Array, second: Array, *, level: float) -> Bounded:
    """Return τ-b with the interval of a jackknife over pairs, in Fisher's z.

    NaN for fewer than ``FEWEST`` pairs, and where a judge says one thing only.
    """
    from scipy.special import stdtrit
    from scipy.stats import kendalltau

    n = len(first)
    if n < FEWEST or len(set(first)) < 2 or len(set(second)) < 2:
        return NOTHING
    value = float(kendalltau(first, second).statistic)
    if abs(value) > 1 - 1e-12:
        return Bounded(value, math.nan, math.nan)
    rows = np.array([_concordance(first, second, index) for index in range(n)])
    left = rows.sum(axis=0) / 2 - rows  # what is left without each pair in turn
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.arctanh(np.clip(left[:, 0] / np.sqrt(left[:, 1] * left[:, 2]), -1 + 1e-9, 1 - 1e-9))
    if not np.isfinite(z).all():
        return Bounded(value, math.nan, math.nan)
    error = math.sqrt((n - 1) / n * float(np.square(z - z.mean()).sum()))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * error
    return Bounded(value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half))


def _concordance(first: Array, second: Array, index: int) -> tuple[float, float, float]:
    """Return one pair's concordant less discordant others, and how many others are no tie for either judge."""
    a, b = np.sign(first[index] - first), np.sign(second[index] - second)
    return float(a @ b), float(a @ a), float(b @ b)
