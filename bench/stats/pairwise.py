"""All pairs of arms as one family: differences over seeds and prompts, p-values, half-widths.

An arm's scores are a table of seeds × prompts, and all arms answer the same prompts. The variance of a difference's
mean is v / seeds + w: v is the variance of its seeds' means, always counted, moderated over all arms (``moderated``)
and never below what the residual alone causes; w is what prompts add, (MS_prompt − MS_residual) / (seeds · prompts).
The squared half-width is the sum of the two parts' own squared ones (Howe 1974, J. Am. Stat. Assoc. 69, 789).
Measured family-wise error: docs/statistics.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.crossed import Array, as_table, mean_squares
from bench.stats.moderated import SeedPrior, moderate, seed_prior

Scores = Mapping[int, Sequence[float]]
"""Seed → scores over the prompts."""
SMALLEST = 1e-12
"""Smaller p-values are given as 0: the tails of no model are known so far out."""
HALVINGS = 40
"""Bisections of a half-width: it is right to one part in 10¹² of the interval that it is searched in."""


@dataclass(frozen=True)
class Differences:
    """Differences of pairs of arms (…, pairs), by what makes them vary.

    ``mean``: of first − second over common seeds and prompts. ``seed``: variance of its seeds' means. ``residual``: the
    part of ``seed`` that the residual causes, so its least value. ``prompt``: the part of the mean's variance that
    comes from prompts. ``seeds``: common ones, 2 or more. ``prompts``: of each. ``arms``: sides that vary with a seed.
    """

    mean: Array
    seed: Array
    residual: Array
    prompt: Array
    seeds: Array
    prompts: int
    arms: int = 2


def pair_differences(scores: Mapping[str, Scores]) -> dict[tuple[str, str], tuple[Array, list[int]]]:
    """Return each pair's table of differences, first − second, and their common seeds; pairs without any are out."""
    tables = {}
    for first, second in combinations(scores, 2):
        seeds = sorted(scores[first].keys() & scores[second].keys())
        if seeds:
            rows = [np.subtract(scores[first][seed], scores[second][seed]) for seed in seeds]
            tables[first, second] = as_table(rows), seeds
    return tables


def summarise(tables: Sequence[Array], *, arms: int = 2) -> Differences:
    """Return the differences of tables (seeds × prompts each) of two seeds or more. Raises ValueError for one seed."""
    parts = [_parts(table) for table in tables]
    mean, seed, residual, prompt, seeds = (np.array(column, dtype=np.float64) for column in zip(*parts, strict=True))
    return Differences(mean, seed, residual, prompt, seeds, tables[0].shape[1], arms)


def _parts(table: Array) -> tuple[float, float, float, float, int]:
    seeds, prompts = table.shape
    if seeds < 2:
        raise ValueError(f"differences of two seeds or more are needed; got a table of the shape {table.shape}")
    if prompts == 1:
        return float(table.mean()), float(table.var(ddof=1)), 0.0, 0.0, seeds
    squares = mean_squares(table)
    residual = float(squares.residual)
    prompt = max(float(squares.prompt) - residual, 0.0) / (seeds * prompts)
    return float(table.mean()), float(squares.seed) / prompts, residual / prompts, prompt, seeds


def prior_of(scores: Mapping[str, Scores]) -> SeedPrior:
    """Return what the arms say together of an arm's variance between seeds."""
    seeds = sorted({seed for rows in scores.values() for seed in rows})
    means = np.full((len(seeds), len(scores)), np.nan)
    for column, rows in enumerate(scores.values()):
        for seed, row in rows.items():
            means[seeds.index(seed), column] = np.mean(row)
    return seed_prior(means)


def p_values(differences: Differences, prior: SeedPrior, *, against: ArrayLike = 0.0) -> Array:
    """Return the two-sided p (…, pairs) of a mean that far, |mean| − ``against``, from 0; 1 where it is no farther.

    It is the level at which the half-width equals that distance; 0 below 1e-12. Against 0 it is the test of «no
    difference»; the test of equivalence takes margin − |mean| (``p_at``).
    """
    return p_at(differences, prior, distance=np.abs(differences.mean) - np.asarray(against, dtype=np.float64))


def p_at(differences: Differences, prior: SeedPrior, *, distance: ArrayLike) -> Array:
    """Return the level (…, pairs) at which a half-width is ``distance``; 1 for none, 0 below 1e-12."""
    far = np.maximum(np.asarray(distance, dtype=np.float64), 0.0)
    # the seeds' part q and the prompts' part fall together as p grows: one search over q
    low, high = np.zeros_like(far), far.copy()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        p = _seed_tail(middle, differences, prior)
        wider = middle**2 + _prompt_part(p, differences) > far**2
        low, high = np.where(wider, low, middle), np.where(wider, middle, high)
    p = _seed_tail((low + high) / 2, differences, prior)
    return np.where(far == 0, 1.0, np.where(p <= SMALLEST, 0.0, p))


def half_widths(differences: Differences, prior: SeedPrior, *, p: ArrayLike) -> Array:
    """Return half the width (…, pairs) of the intervals at level 1 − ``p``."""
    wanted = np.broadcast_to(np.asarray(p, dtype=np.float64), differences.mean.shape)
    low = np.zeros_like(differences.mean)
    high = np.sqrt(np.maximum(differences.seed, differences.residual) + prior.scales.max() * differences.arms)
    while (short := _seed_tail(high, differences, prior) > wanted).any():
        high = np.where(short, 2 * high, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = _seed_tail(middle, differences, prior) > wanted
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.sqrt(high**2 + _prompt_part(wanted, differences))


def exceeds(differences: Differences, prior: SeedPrior, *, p: ArrayLike, distance: ArrayLike) -> NDArray[np.bool_]:
    """Say which half-widths (…, pairs) at level 1 − ``p`` are below ``distance``: ``p_at`` < ``p`` without a search."""
    far = np.maximum(np.asarray(distance, dtype=np.float64), 0.0)
    left = far**2 - _prompt_part(np.asarray(p), differences)
    return (left > 0) & (_seed_tail(np.sqrt(np.maximum(left, 0.0)), differences, prior) < np.asarray(p))


def _seed_tail(half: Array, differences: Differences, prior: SeedPrior) -> Array:
    """Return the two-sided p (…, pairs) of the seeds' part alone at a half-width."""
    from scipy.special import stdtr

    freedom = differences.seeds - 1
    own = np.maximum(differences.seed, differences.residual)
    alone = 2 * stdtr(freedom, -_ratio(half, np.sqrt(own / differences.seeds)))
    if (prior.alone == 1).all():
        return alone
    variance, total = moderate(differences.seed, freedom, prior, arms=differences.arms)
    variance = np.maximum(variance, differences.residual[..., None])
    ratio = _ratio(half[..., None], np.sqrt(variance / differences.seeds[..., None]))
    pooled = (prior.weights[..., None, :] * 2 * stdtr(total, -ratio)).sum(axis=-1)
    weight = prior.alone[..., None]
    return (1 - weight) * pooled + weight * alone


def _prompt_part(p: Array, differences: Differences) -> Array:
    """Return the prompts' part of the squared half-width (…, pairs) at level 1 − ``p``."""
    from scipy.special import stdtrit

    if differences.prompts < 2:
        return np.zeros_like(differences.mean)
    quantile = stdtrit(differences.prompts - 1, np.clip(p, 1e-300, 1.0) / 2)
    return np.square(quantile) * differences.prompt


def _ratio(far: Array, error: Array) -> Array:
    """Return far / error, 0 for 0 / 0 and infinity for a distance without an error."""
    far, error = np.broadcast_arrays(far, error)
    return np.divide(far, error, out=np.where(far > 0, np.inf, 0.0), where=error > 0)
