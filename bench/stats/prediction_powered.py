"""Prediction-powered inference: a mean of dear values, known for a random part, corrected by cheap values of all.

Angelopoulos et al. 2023 (arXiv 2301.09633), with the power tuning of PPI++ (Angelopoulos, Duchi and Zrnic 2023, arXiv
2311.01453). Where the dear values are a random part of the items that have cheap ones, as here, PPI++ is the regression
estimator of survey sampling (Cochran 1977, Sampling Techniques, ch. 7), whose small-sample theory is used.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import LEVEL, Interval

Array = NDArray[np.float64]
Items = Literal["these", "new"]
"""What a mean is about: the items that have cheap values, or new ones like them."""
Bounds = tuple[float, float]
RATE: Bounds = (0.0, 1.0)
"""The bounds of a verdict."""
DIFFERENCE: Bounds = (-1.0, 1.0)
"""The bounds of a difference of two verdicts."""
FEWEST = 2
"""Strong values from which an interval can be stated."""


@dataclass(frozen=True)
class Corrected:
    """A mean of strong values over ``size`` items, of which ``n`` have one, corrected by cheap values of all.

    ``interval``: PPI++'s estimate with its interval; ``alone``: the strong values' own mean with theirs. ``stderr``:
    the estimate's standard error. ``weight``: PPI++'s λ, the weight of the cheap values; 0: they were of no use.
    ``spread``: standard deviation of the strong values; ``residual``: what is left of it beside the cheap ones.
    ``items``: which are meant.
    """

    interval: Interval
    alone: Interval
    stderr: float
    weight: float
    n: int
    size: int
    spread: float
    residual: float
    items: Items


@dataclass(frozen=True)
class _Line:
    """Least squares of strong on cheap values, with two pseudo-observations, at the mean of all cheap values.

    ``variance``: of the residuals. ``leverage``: what the unknown slope adds to 1/n. ``count``: observations, the two
    included; ``freedom``: degrees of freedom of the variance.
    """

    mean: float
    slope: float
    variance: float
    leverage: float
    count: int
    freedom: int


def corrected_mean(
    strong: ArrayLike, cheap: ArrayLike, *, items: Items = "new", bounds: Bounds = RATE, level: float = LEVEL
) -> Corrected:
    """Return the mean of strong values corrected by cheap ones, with an interval that few strong values do not break.

    The estimate is θ = Ȳ + λ (f̃ − f̄): Ȳ and f̄ are means of strong and cheap values where both are known, f̃ the mean
    of cheap values where the strong ones are not. λ = cov(Y, f) / ((1 + n/N) var f) minimises the variance (arXiv
    2311.01453, § 6), N being the number of items without a strong value. With M = n + N and b = cov / var this is
    Ȳ + b (mean of all f − f̄), whose variance is s²_e (1/n − 1/M + leverage) for these M items, s²_e being that of the
    residuals, and s²_Y / M more for new items. The interval is Student's.

    A rate near 0 or 1 shows no spread in a small part, and intervals by it are far too narrow. So variances are those
    of n + 2 values: two pseudo-observations are added, as Agresti and Coull (1998, Am. Stat. 52, 119) add theirs, one
    at each bound, or for differences at ±√½ (Agresti and Min 2005, Stat. Med. 24, 729). The estimate itself is without
    them.
    Measured coverage: docs/statistics.md.

    Args:
        strong: a value for each item within ``bounds``, NaN where there is none: which ones must be random.
        cheap: a value for each item, on any scale; NaN counts as the mean of the others.
        items: what the interval is about: the mean over these items, or over all that these were drawn from.

    Raises:
        ValueError: arrays of different shape, fewer than two strong values, a value beyond ``bounds``.
    """
    y, f, known = _checked(strong, cheap, bounds=bounds)
    n, size = int(known.sum()), len(y)
    flat = np.zeros_like(f)
    mean, slope = _estimate(y, f, known)
    line = _line(y, f, known, bounds=bounds)
    lone = _line(y, flat, known, bounds=bounds)
    spread = math.sqrt(line.slope**2 * float(f.var(ddof=1)) + line.variance) if size > 1 else 0.0
    error = _error(line, size=size, spread=spread, items=items)
    own = _error(lone, size=size, spread=math.sqrt(lone.variance), items=items)
    return Corrected(
        interval=_interval(mean, line, error, size=size, bounds=bounds, level=level),
        alone=_interval(float(y[known].mean()), lone, own, size=size, bounds=bounds, level=level),
        stderr=error,
        weight=slope * (size - n) / size,
        n=n,
        size=size,
        spread=spread,
        residual=math.sqrt(line.variance),
        items=items,
    )


def corrected_difference(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], *, items: Items = "new"
) -> Corrected:
    """Return the corrected mean of first − second, each (strong, cheap) verdicts of the same items in the same order.

    What an item adds to both drops out. Only items count whose strong values are known of both. λ is that of the
    differences. Raises ValueError as ``corrected_mean``.
    """
    (strong, cheap), (other_strong, other_cheap) = (
        tuple(np.asarray(each, dtype=np.float64) for each in side) for side in (first, second)
    )
    if not strong.shape == cheap.shape == other_strong.shape == other_cheap.shape:
        shapes = [each.shape for each in (strong, cheap, other_strong, other_cheap)]
        raise ValueError(f"a paired difference needs the same items on both sides: got the shapes {shapes}")
    return corrected_mean(strong - other_strong, cheap - other_cheap, items=items, bounds=DIFFERENCE)


def values_needed(pilot: Corrected, *, half: float, level: float = LEVEL, alone: bool = False) -> int | None:
    """Return how many strong values make half the interval's width at most ``half``; None: not even all of them do.

    Residuals and spread are the pilot's, which is uncertain itself: a pilot of 40 knows its residuals' deviation to a
    tenth. ``alone``: without the cheap values. Raises ValueError for a width that is not above 0.
    """
    if not half > 0:
        raise ValueError(f"half a width is above 0, got {half}")
    halves = _planned(pilot, level=level, alone=alone)
    enough = np.flatnonzero(halves <= half)
    return int(enough[0]) + FEWEST if len(enough) else None


def worth(pilot: Corrected, *, level: float = LEVEL) -> int:
    """Return how many strong values would give the corrected interval's width alone: what the cheap ones replace."""
    reached = _planned(pilot, level=level, alone=False)[pilot.n - FEWEST]
    enough = np.flatnonzero(_planned(pilot, level=level, alone=True) <= reached)
    return int(enough[0]) + FEWEST if len(enough) else pilot.size


def rectified(strong: ArrayLike, cheap: ArrayLike, *, bounds: Bounds = RATE) -> Array:
    """Return a value for each item whose mean is the corrected one, and whose spread ÷ √items is its standard error.

    An item's value is a + b f + (ξ M/n) (y − a − b f), ξ being 1 where y is known, else 0: what the cheap value
    predicts, and the prediction's error where it is known (Robins et al. 1994, J. Am. Stat. Assoc. 89, 846). The
    errors, whose sum is 0, are scaled so that the spread gives ``corrected_mean``'s standard error for new items. So
    rates can be compared item by item with anything that is paired. Values may lie beyond ``bounds``. Raises ValueError
    as there.
    """
    values, errors = _parts(strong, cheap, bounds=bounds)
    wanted = corrected_mean(strong, cheap, bounds=bounds).stderr ** 2 * len(values)
    return values + _scale(values, errors, wanted) * errors


def rectified_labels(strong: ArrayLike, cheap: ArrayLike) -> Array:
    """Return ``rectified`` before its errors are scaled: labels for estimates whose equations are linear in them.

    A logistic regression on them is PPI++'s (its loss is linear in the label). Raises ValueError as ``corrected_mean``.
    """
    values, errors = _parts(strong, cheap, bounds=RATE)
    return values + errors


def _parts(strong: ArrayLike, cheap: ArrayLike, *, bounds: Bounds) -> tuple[Array, Array]:
    y, f, known = _checked(strong, cheap, bounds=bounds)
    mean, slope = _estimate(y, f, known)
    predicted = mean + slope * (f - f.mean())
    errors = np.zeros_like(y)
    errors[known] = (y - predicted)[known] * (len(y) / known.sum())
    return predicted, errors


def _scale(values: Array, errors: Array, wanted: float) -> float:
    """Return c with var(values + c · errors) = ``wanted``, 1 where no c above 0 gives it."""
    if len(values) < 2:
        return 1.0
    (a, b), (_, c) = np.cov(values, errors)
    under = b * b + c * (wanted - a)
    root = (math.sqrt(under) - b) / c if c > 0 and under >= 0 else math.nan
    return root if root > 0 else 1.0


def _checked(strong: ArrayLike, cheap: ArrayLike, *, bounds: Bounds) -> tuple[Array, Array, NDArray[np.bool_]]:
    y, f = np.asarray(strong, dtype=np.float64), np.asarray(cheap, dtype=np.float64)
    if y.shape != f.shape or y.ndim != 1:
        raise ValueError(f"strong and cheap values are one each item: got the shapes {y.shape} and {f.shape}")
    known = ~np.isnan(y)
    if known.sum() < FEWEST:
        raise ValueError(f"an interval needs {FEWEST} strong values or more, got {int(known.sum())}")
    if not ((y[known] >= bounds[0]) & (y[known] <= bounds[1])).all():
        raise ValueError(f"strong values lie between {bounds[0]:g} and {bounds[1]:g}")
    if np.isinf(f).any():
        raise ValueError("cheap values must be finite, or NaN")
    blank = np.isnan(f)
    return y, np.where(blank, f[~blank].mean() if not blank.all() else 0.0, f), known


def _slope(y: Array, f: Array) -> float:
    """Return cov(y, f) / var(f), 0 where f does not vary beyond rounding."""
    centred = f - f.mean()
    square = float(centred @ centred)
    return float(centred @ y) / square if square > 1e-20 * max(1.0, float(f @ f)) else 0.0


def _estimate(y: Array, f: Array, known: NDArray[np.bool_]) -> tuple[float, float]:
    slope = _slope(y[known], f[known])
    return float(y[known].mean() + slope * (f.mean() - f[known].mean())), slope


def _line(y: Array, f: Array, known: NDArray[np.bool_], *, bounds: Bounds) -> _Line:
    centre = float(f.mean())
    # Differences: ±√½ is the pair of values with the moments of ½ an observation at each bound and one at 0.
    ends = np.array(bounds) if bounds[0] >= 0 else np.array(bounds) * math.sqrt(0.5)
    y, f = np.append(y[known], ends), np.append(f[known], [centre, centre])
    slope = _slope(y, f)
    residuals = y - y.mean() - slope * (f - f.mean())
    square = float(np.square(f - f.mean()).sum())
    freedom = len(y) - (2 if slope else 1)
    return _Line(
        mean=float(y.mean() + slope * (centre - f.mean())),
        slope=slope,
        variance=float(residuals @ residuals) / freedom,
        leverage=(centre - float(f.mean())) ** 2 / square if slope else 0.0,
        count=len(y),
        freedom=freedom,
    )


def _error(line: _Line, *, size: int, spread: float, items: Items) -> float:
    """Return the standard error. The two pseudo-observations are two items more, both known."""
    variance = line.variance * (1 / line.count - 1 / (size + 2) + line.leverage * (line.count < size + 2))
    return math.sqrt(variance + (spread**2 / size if items == "new" else 0.0))


def _interval(mean: float, line: _Line, error: float, *, size: int, bounds: Bounds, level: float) -> Interval:
    from scipy.special import stdtrit

    half = float(stdtrit(line.freedom, 0.5 + level / 2)) * error
    # Without the pseudo-observations among the items: with a strong value for all this is their mean itself.
    centre = line.mean + (line.mean - sum(bounds) / 2) * 2 / size
    low, high = (float(np.clip(side, *bounds)) for side in (centre - half, centre + half))
    return Interval(mean, min(low, mean), max(high, mean), "prompts", size)


def _planned(pilot: Corrected, *, level: float, alone: bool) -> Array:
    """Return half the expected width for ``FEWEST`` to all items with a strong value."""
    from scipy.special import stdtrit

    n = np.arange(FEWEST, pilot.size + 1, dtype=np.float64)
    parameters = 1 if alone or not pilot.weight else 2
    part = 1 / (n + 2) - 1 / (pilot.size + 2)
    variance = (pilot.spread if alone else pilot.residual) ** 2 * part * (1 + (parameters - 1) / np.maximum(n - 1, 1))
    rest = pilot.spread**2 / pilot.size if pilot.items == "new" else 0.0
    return np.asarray(stdtrit(n + 2 - parameters, 0.5 + level / 2) * np.sqrt(variance + rest), dtype=np.float64)
