"""Intervals of scores that cross seeds with prompts: every seed is scored on the same prompts.

The model is a two-way crossed one with random effects and no replication: score = mean + seed + prompt + residual, each
of the three drawn independently. Functions that take «tables» take any number of them at once, (…, seeds, prompts).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import LEVEL, Interval, normal_interval, t_interval

Array = NDArray[np.float64]

SEED_RATIO = 1.1
PROMPT_RATIO = 1.4
"""A component counts once its mean square exceeds the residual one this many times. Any threshold is a compromise
between intervals that are too wide where there is no such component and too narrow where there is a small one; with
these both stay within 93 to 97 % (docs/statistics.md)."""
TRIMMED = 4
"""An interquartile mean leaves out one part in this many of the scores at either end."""


@dataclass(frozen=True)
class Components:
    """Variances of one score by cause (score², each 0 or more), and the share of the mean's variance that each causes.

    Shares add up to 1; they are all 0 where scores do not vary.
    """

    seed: float
    prompt: float
    residual: float
    seed_share: float
    prompt_share: float
    residual_share: float


@dataclass(frozen=True)
class MeanSquares:
    """The mean squares (…) of tables with ``seeds`` × ``prompts`` scores, and so many degrees of freedom each."""

    seed: Array
    prompt: Array
    residual: Array
    seeds: int
    prompts: int


def crossed_interval(
    scores: ArrayLike, *, statistic: Literal["mean", "iqm"] = "mean", level: float = LEVEL
) -> Interval:
    """Return the mean, or the interquartile mean, of ``scores`` (seeds × prompts) with its interval.

    The interval is for new seeds *and* new prompts; ``n`` is the number of seeds. One seed gives the normal interval
    over prompts (source «prompts»), which knows nothing of what another seed would give; one prompt, Student's t over
    seeds; one score, none. The interquartile mean is the mean of the middle half of all scores
    (``scipy.stats.trim_mean`` with 0.25), and its interval that of the mean of its influences (Tukey and McLaughlin
    1963, Sankhya A 25, 331): scores beyond the quartiles are drawn in to these. Measured coverage of nominal 95 %
    intervals: docs/statistics.md. Raises ValueError for scores that are not finite or no table.
    """
    table = as_table(scores)
    centre, influences = (table.mean(), table) if statistic == "mean" else interquartile(table)
    mean, (seeds, prompts) = float(centre), table.shape
    if seeds == 1 and prompts == 1:
        return Interval(mean, math.nan, math.nan, "none", 1)
    if seeds == 1:
        return normal_interval(mean, stderr=float(influences.std(ddof=1)) / math.sqrt(prompts), level=level)
    if prompts == 1:
        half = t_interval(influences[:, 0].tolist(), level=level).half
        return Interval(mean, mean - half, mean + half, "seeds", seeds)
    half = float(half_width(mean_squares(influences), level=level))
    return Interval(mean, mean - half, mean + half, "crossed", seeds)


def variance_components(scores: ArrayLike) -> Components:
    """Return which part of the scores' variance comes from seeds, from prompts, and from the two together with noise.

    ``scores`` is seeds × prompts. Estimates by mean squares; one below 0 counts as 0. With one seed all is the
    prompts', with one prompt all the seeds': nothing tells the residual apart. Raises ValueError as
    ``crossed_interval``.
    """
    table = as_table(scores)
    seeds, prompts = table.shape
    if seeds == 1 or prompts == 1:
        spread = float(table.var(ddof=1)) if table.size > 1 else 0.0
        seed, prompt, residual = (spread, 0.0, 0.0) if prompts == 1 else (0.0, spread, 0.0)
    else:
        found = mean_squares(table)
        residual = float(found.residual)
        seed = max(float(found.seed) - residual, 0.0) / prompts
        prompt = max(float(found.prompt) - residual, 0.0) / seeds
    causes = (seed / seeds, prompt / prompts, residual / (seeds * prompts))
    total = math.fsum(causes)
    return Components(seed, prompt, residual, *(cause / total if total else 0.0 for cause in causes))


def as_table(scores: ArrayLike) -> Array:
    """Return ``scores`` as finite float64, seeds × prompts; one row may come bare. Raises ValueError for all else."""
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"scores must be finite, (seeds × prompts) and not empty; got the shape {table.shape}")
    return table


def mean_squares(tables: Array) -> MeanSquares:
    """Return the mean squares of ``tables``, two seeds and two prompts or more (Searle et al. 1992, ch. 4)."""
    seeds, prompts = tables.shape[-2:]
    of_seed, of_prompt = tables.mean(axis=-1, keepdims=True), tables.mean(axis=-2, keepdims=True)
    rest = tables - of_seed - of_prompt + of_seed.mean(axis=-2, keepdims=True)
    return MeanSquares(
        seed=prompts * of_seed.var(axis=(-2, -1), ddof=1),
        prompt=seeds * of_prompt.var(axis=(-2, -1), ddof=1),
        residual=np.square(rest).sum(axis=(-2, -1)) / ((seeds - 1) * (prompts - 1)),
        seeds=seeds,
        prompts=prompts,
    )


def half_width(found: MeanSquares, *, level: ArrayLike = LEVEL) -> Array:
    """Return half the width (…) of the mean's interval at ``level``; it grows with the level, and is 0 at level 0.

    The mean's variance is (MS_seed + MS_prompt − MS_residual) / (seeds · prompts), where a component below its
    threshold is left out. Satterthwaite's t (1946, Biometrics Bull. 2, 110) is too narrow where few seeds dominate,
    because its degrees of freedom are themselves estimated; the sum of each part's own squared half-width (Howe 1974,
    J. Am. Stat. Assoc. 69, 789) is too wide where parts are of a size. The two err apart, so the squared half-width is
    their mean.
    """
    from scipy.special import stdtrit

    tail = (1 - np.asarray(level, dtype=np.float64)) / 2
    free_seed, free_prompt = found.seeds - 1, found.prompts - 1
    free_rest = free_seed * free_prompt
    by_seed, by_prompt = found.seed > SEED_RATIO * found.residual, found.prompt > PROMPT_RATIO * found.residual
    seed, prompt = np.where(by_seed, found.seed, 0.0), np.where(by_prompt, found.prompt, 0.0)
    rest = (1 - by_seed.astype(int) - by_prompt) * found.residual
    variance = seed + prompt + rest
    spread = seed**2 / free_seed + prompt**2 / free_prompt + rest**2 / free_rest
    freedom = np.divide(variance**2, spread, out=np.ones_like(spread), where=spread > 0)
    satterthwaite = stdtrit(freedom, tail) ** 2 * variance
    howe = np.where(by_seed, stdtrit(free_seed, tail) ** 2 * seed, stdtrit(free_rest, tail) ** 2 * found.residual)
    howe = howe + stdtrit(free_prompt, tail) ** 2 * np.where(by_prompt, prompt - found.residual, 0.0)
    return np.sqrt((satterthwaite + howe) / 2 / (found.seeds * found.prompts))


def interquartile(tables: Array) -> tuple[Array, Array]:
    """Return the interquartile mean (…) of ``tables`` and the influence of each score on it (…, seeds, prompts).

    Influences are known up to a constant: scores drawn in to the quartiles, over the share that these leave.
    """
    size = tables.shape[-2] * tables.shape[-1]
    cut = size // TRIMMED
    ordered = np.sort(tables.reshape(*tables.shape[:-2], size), axis=-1)
    low, high = ordered[..., cut, None, None], ordered[..., size - 1 - cut, None, None]
    return ordered[..., cut : size - cut].mean(axis=-1), np.clip(tables, low, high) * (size / (size - 2 * cut))
