"""All pairs of arms as one family: differences over seeds and prompts, p-values, half-widths.

An arm's scores are a table of seeds × prompts, and all arms answer the same prompts. The variance of a difference's
mean is v / seeds + w: v is the variance of its seeds' means, always counted, moderated over all arms (``moderated``)
and never below what the residual alone causes; w is what prompts add, (MS_prompt − MS_residual) / (seeds · prompts).
The squared half-width is the sum of the two parts' own squared ones (Howe 1974, J. Am. Stat. Assoc. 69, 789).
Measured family-wise error: docs/statistics.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.crossed import Array, as_table, mean_squares
from bench.stats.moderated import SeedPrior, moderate, seed_prior
from bench.stats.paired import SMALLEST

Scores = Mapping[int, Sequence[float]]
"""Seed → scores over the prompts."""
STEPS = 150
NEAR = 1e-12
"""A search ends when all brackets are this narrow, as a share of their place; at most so many steps."""
LOWEST = 1e-300
"""The smallest tail that enters a logarithm."""
TOGETHER = 256
"""Tables of a shape that are summed up at once: more would not fit a processor's cache."""


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
    arrays = {arm: {seed: as_table(row) for seed, row in rows.items()} for arm, rows in scores.items()}
    for first, second in combinations(scores, 2):
        seeds = sorted(scores[first].keys() & scores[second].keys())
        if seeds:
            rows = [arrays[first][seed] - arrays[second][seed] for seed in seeds]
            tables[first, second] = np.concatenate(rows), seeds
    return tables


def all_differences(arms: Sequence[str], tables: Mapping[tuple[str, str], Array]) -> Differences | None:
    """Return the differences of all pairs of ``arms``; None for one arm, or where two have fewer than two common seeds.

    ``tables``: of differences by pair, in the order of ``arms``.
    """
    pairs = list(combinations(arms, 2))
    if not pairs or any(pair not in tables or len(tables[pair]) < 2 for pair in pairs):
        return None
    return summarise([tables[pair] for pair in pairs])


def summarise(tables: Sequence[Array], *, arms: int = 2) -> Differences:
    """Return the differences of tables (seeds × prompts each) of two seeds or more. Raises ValueError for one seed."""
    if not all(table.shape[0] > 1 for table in tables):
        shape = next(table.shape for table in tables if table.shape[0] < 2)
        raise ValueError(f"differences of two seeds or more are needed; got a table of the shape {shape}")
    parts = np.empty((5, len(tables)))
    for shape in {table.shape for table in tables}:
        places = [place for place, table in enumerate(tables) if table.shape == shape]
        for some in (places[at : at + TOGETHER] for at in range(0, len(places), TOGETHER)):
            parts[:, some] = _parts(np.stack([tables[place] for place in some]))
    mean, seed, residual, prompt, seeds = parts
    return Differences(mean, seed, residual, prompt, seeds, tables[0].shape[1], arms)


def _parts(tables: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Return mean, variances by seed, residual and prompt, and seeds of ``tables`` (pairs, seeds, prompts)."""
    pairs, seeds, prompts = tables.shape
    mean, count = tables.mean(axis=(1, 2)), np.full(pairs, float(seeds))
    if prompts == 1:
        return mean, tables.var(axis=(1, 2), ddof=1), np.zeros(pairs), np.zeros(pairs), count
    squares = mean_squares(tables)
    prompt = np.maximum(squares.prompt - squares.residual, 0.0) / (seeds * prompts)
    return mean, squares.seed / prompts, squares.residual / prompts, prompt, count


def prior_of(scores: Mapping[str, Scores]) -> SeedPrior:
    """Return what the arms say together of an arm's variance between seeds."""
    seeds = sorted({seed for rows in scores.values() for seed in rows})
    means = np.full((len(seeds), len(scores)), np.nan)
    for column, rows in enumerate(scores.values()):
        for seed, row in rows.items():
            means[seeds.index(seed), column] = np.mean(row)
    return seed_prior(means)


def p_values(differences: Differences, prior: SeedPrior) -> Array:
    """Return the two-sided p (…, pairs) of «no difference»: the level at which the half-width equals |mean|."""
    return p_at(differences, prior, distance=np.abs(differences.mean))


def p_at(differences: Differences, prior: SeedPrior, *, distance: ArrayLike) -> Array:
    """Return the level (…, pairs) at which a half-width is ``distance``; 1 for none, 0 below 1e-12."""
    far = np.maximum(np.broadcast_to(np.asarray(distance, dtype=np.float64), differences.mean.shape), 0.0)

    def excess(part: Array) -> Array:
        p = _seed_tail(part, differences, prior)
        # far tails of few prompts are huge, and a secant to them hardly moves
        return np.minimum(part**2 + _prompt_part(p, differences) - far**2, far**2)

    # the seeds' part and the prompts' part fall together as p grows: one search over the seeds' part
    p = _seed_tail(_root(excess, np.zeros_like(far), far), differences, prior)
    return np.where(far == 0, 1.0, np.where(p <= SMALLEST, 0.0, p))


def half_widths(differences: Differences, prior: SeedPrior, *, p: ArrayLike) -> Array:
    """Return half the width (…, pairs) of the intervals at level 1 − ``p``."""
    wanted = np.broadcast_to(np.asarray(p, dtype=np.float64), differences.mean.shape)
    low = np.zeros_like(differences.mean)
    high = np.sqrt(np.maximum(differences.seed, differences.residual) + prior.scales.max() * differences.arms)
    while (short := _seed_tail(high, differences, prior) > wanted).any():
        high = np.where(short, 2 * high, high)
    log_p = np.log(wanted)

    def excess(half: Array) -> Array:
        # the logarithm of a tail is all but linear in the half-width
        return log_p - np.log(np.maximum(_seed_tail(half, differences, prior), LOWEST))

    return np.sqrt(_root(excess, low, high) ** 2 + _prompt_part(wanted, differences))


def _root(excess: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return where ``excess``, which rises, is 0 (…) between ``low``, where it is not above 0, and ``high``.

    Regula falsi with the Illinois rule (Dowell and Jarratt 1971, BIT 11, 168), and a bisection of brackets that three
    steps have not halved.
    """
    at_low, at_high = excess(low), excess(high)
    low = np.where(at_high == 0, high, low)
    before, was_above = high - low, np.full(low.shape, np.nan)
    for step in range(STEPS):
        width, rise = high - low, at_high - at_low
        share = np.divide(-at_low, rise, out=np.full_like(low, 0.5), where=np.isfinite(rise) & (rise > 0))
        slow = (step % 3 == 2) & (width > before / 2)
        middle = low + np.where((share > 0) & (share < 1) & ~slow, share, 0.5) * width
        value = excess(middle)
        above = value >= 0
        # an end that stays twice counts for half, so that both ends move
        stays = np.where(above == was_above, 0.5, 1.0)
        at_low, at_high = np.where(above, at_low * stays, value), np.where(above, value, at_high * stays)
        low, high = np.where(above & (value != 0), low, middle), np.where(above, middle, high)
        before = width if step % 3 == 2 else before
        was_above = above.astype(np.float64)
        if (high - low <= NEAR * high).all():
            break
    return (low + high) / 2


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
