"""Power of a table: the probability that it sees a difference, the seeds that it takes, what it could have seen.

The test is the table's own (``pairwise``): a pair's half-width at the level of Holm's first step, 5 % over all pairs.
That half-width is random, since it is made of estimated variances, and with moderation it depends on the other arms.
Its law has no closed form, so it is averaged over: the pair's variance between seeds takes the quantiles of its χ² law
in turn, the other arms' means are drawn by a fixed generator, and the production test gives each draw's half-width. The
mean difference is independent of them all and normal, so each draw's power is exact. Power after later steps of Holm's
method is higher. Agreement with simulation: docs/statistics.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bench.stats.best import level_with_best
from bench.stats.crossed import Array
from bench.stats.intervals import LEVEL
from bench.stats.moderated import seed_prior
from bench.stats.pairwise import Differences, half_widths
from bench.stats.verdicts import BEST_SHARE, POWER

SEED_DRAWS, FEWEST_DRAWS, MOST_DRAWS = 1152, 24, 384
"""Draws that power is averaged over, times seeds, and their bounds: variances of few seeds vary most. Power is right to
a point then (docs/statistics.md)."""
HALVINGS = 30
"""Bisections of a difference: right to one part in 10⁹."""
TINY = 1e-300
"""What stands for a variance of 0 in a logarithm."""
MOST_SEEDS = 200
"""More seeds are not looked at: whoever needs them needs a larger difference."""
GENERATOR = 0


@dataclass(frozen=True)
class Variances:
    """Variances of a pair's difference (score²) by cause, as they are with one sample a prompt.

    ``seed``: of a seed's effect. ``prompt``: of a prompt's effect, which all seeds share. ``residual``: of the rest.
    ``prompt_noise``, ``residual_noise``: the parts of the two that another sample of the same prompt draws anew, so
    more samples average them out; 0 where this is unknown. Raises ValueError for a negative one or a part that exceeds
    its whole.
    """

    seed: float
    prompt: float
    residual: float
    prompt_noise: float = 0.0
    residual_noise: float = 0.0

    def __post_init__(self) -> None:
        if not min(self.seed, self.prompt_noise, self.residual_noise) >= 0:
            raise ValueError(f"variances are 0 or more, got {self}")
        if not (self.prompt >= self.prompt_noise and self.residual >= self.residual_noise):
            raise ValueError(f"sampling noise is a part of the prompts' and the residual variance, got {self}")

    def of(self, samples: int) -> "Variances":
        """Return the variances of a mean over so many samples of each prompt."""
        saved = 1 - 1 / samples
        prompt, residual = self.prompt - saved * self.prompt_noise, self.residual - saved * self.residual_noise
        return Variances(self.seed, prompt, residual, self.prompt_noise / samples, self.residual_noise / samples)


@dataclass(frozen=True)
class Design:
    """The size of a table: seeds of each arm (2 or more), prompts (2 or more), samples of each prompt."""

    seeds: int
    prompts: int
    samples: int = 1

    def __post_init__(self) -> None:
        if self.seeds < 2 or self.prompts < 2 or self.samples < 1:
            raise ValueError(f"a design has 2 seeds, 2 prompts and 1 sample or more, got {self}")


@dataclass(frozen=True)
class Family:
    """The arms that are compared in one table, all pairs of them.

    ``arms``: how many, 2 or more. ``others``: the variance of a seed's effect of each arm outside the pair (score²);
    empty where they are like the pair's, half of its variance each.
    """

    arms: int
    others: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.arms < 2 or (self.others and len(self.others) != self.arms - 2):
            raise ValueError(f"a family has 2 arms or more, and variances of all but two of them or none; got {self}")

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return self.arms * (self.arms - 1) // 2


@dataclass(frozen=True)
class SeedPart:
    """The seeds' part of squared half-widths (totals, draws), at some variances of a seed's mean (``totals``, rising).

    ``residual`` of a pair and of its family follow from these. Between totals, the part's share of the total is linear
    in the total's logarithm.
    """

    seeds: int
    level: float
    totals: Array
    squared: Array

    def at(self, total: float) -> Array:
        """Return the squared half-widths (draws) where a seed's mean has the variance ``total``."""
        if len(self.totals) == 1:
            return self.squared[0]
        logs = np.log(np.maximum(self.totals, TINY))
        place = float(np.interp(math.log(max(total, TINY)), logs, np.arange(len(logs), dtype=np.float64)))
        low = min(int(place), len(self.totals) - 2)
        shares = self.squared[low : low + 2] / np.maximum(self.totals[low : low + 2], TINY)[:, None]
        mixed: Array = shares[0] + (place - low) * (shares[1] - shares[0])
        return mixed * total


def power(difference: float, design: Design, variances: Variances, family: Family, *, level: float = LEVEL) -> float:
    """Return the probability that a pair whose true difference is ``difference`` is called better or worse."""
    now = variances.of(design.samples)
    part = seed_part(design, now, family, p=(1 - level) / family.pairs)
    return seen(part, difference, now, design.prompts)


def equivalence_power(
    margin: float, difference: float, design: Design, variances: Variances, family: Family, *, level: float = LEVEL
) -> float:
    """Return the probability that a pair whose true difference is ``difference`` is called equal within ``margin``.

    The pair is the best two arms, so the test is that of comparisons with the best (``best``); others lie lower. With
    more arms that may be the best it is less probable, and elsewhere in the table too.
    """
    now = variances.of(design.samples)
    p = float(level_with_best(BEST_SHARE * (1 - level), family.arms))
    part = seed_part(design, now, family, p=p, comparisons=family.arms - 1)
    return called_equal(part, margin, difference, now, design.prompts)


def smallest_difference(
    design: Design, variances: Variances, family: Family, *, wanted: float = POWER, level: float = LEVEL
) -> float:
    """Return the smallest difference that a pair's test sees with probability ``wanted``, in the scores' unit."""
    now = variances.of(design.samples)
    part = seed_part(design, now, family, p=(1 - level) / family.pairs)
    return smallest_seen(part, now, design.prompts, wanted=wanted)


def seeds_needed(
    difference: float,
    variances: Variances,
    family: Family,
    *,
    prompts: int,
    samples: int = 1,
    wanted: float = POWER,
    level: float = LEVEL,
    most: int = MOST_SEEDS,
) -> int | None:
    """Return the fewest seeds with which a difference is seen with probability ``wanted``; None for above ``most``."""
    return fewest(
        lambda seeds: power(difference, Design(seeds, prompts, samples), variances, family, level=level) >= wanted,
        most=most,
    )


def seeds_for_equal(
    margin: float,
    difference: float,
    variances: Variances,
    family: Family,
    *,
    prompts: int,
    samples: int = 1,
    wanted: float = POWER,
    level: float = LEVEL,
    most: int = MOST_SEEDS,
) -> int | None:
    """Return the fewest seeds with which a pair is called equal within ``margin`` with probability ``wanted``.

    ``difference``: the true one, below the margin. None for above ``most``, or where prompts alone prevent it.
    """
    return fewest(
        lambda seeds: (
            equivalence_power(margin, difference, Design(seeds, prompts, samples), variances, family, level=level)
            >= wanted
        ),
        most=most,
    )


def fewest(enough: Callable[[int], bool], *, most: int, least: int = 2) -> int | None:
    """Return the smallest number from ``least`` to ``most`` that is enough, None where ``most`` is not."""
    if not enough(most):
        return None
    low, high = least - 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def seed_part(
    design: Design, variances: Variances, family: Family, *, p: float, comparisons: int | None = None
) -> SeedPart:
    """Return the seeds' part of half-widths at level 1 − ``p``; ``variances``: of the samples that are taken."""
    residuals = np.array([variances.residual / design.prompts])
    totals, others = variances.seed + residuals, other_seeds(variances, family)
    return parts_of(design.seeds, totals, residuals, others, p=p, comparisons=comparisons)


def parts_of(
    seeds: int, totals: Array, residuals: Array, others: Array, *, p: float, comparisons: int | None = None
) -> SeedPart:
    """Return the seeds' part for pairs (totals) of which the residual causes ``residuals``.

    ``others``: variances of a seed's effect of the arms outside the pair. ``comparisons``: of the family; None: all
    pairs of the arms.
    """
    own, means = _draws(seeds, totals, others, residuals)
    prior = seed_prior(means)
    if comparisons is not None:
        prior = replace(prior, alone=np.where(prior.alone < 1, 1 / comparisons, 1.0))
    zeros = np.zeros_like(own)[..., None]
    differences = Differences(
        mean=zeros,
        seed=own[..., None],
        residual=zeros + residuals[:, None, None],
        prompt=zeros,
        seeds=zeros + seeds,
        # the prompts' part is added later, where their number is known
        prompts=1,
    )
    return SeedPart(seeds, 1 - p, totals, half_widths(differences, prior, p=p)[..., 0] ** 2)


def seen(part: SeedPart, difference: float, variances: Variances, prompts: int) -> float:
    """Return the power for a difference at one number of prompts; ``variances`` are of the samples that are taken."""
    return _power(difference, _halves(part, variances, prompts), _error(part.seeds, variances, prompts))


def smallest_seen(part: SeedPart, variances: Variances, prompts: int, *, wanted: float = POWER) -> float:
    """Return the smallest difference with the power ``wanted``; ``variances`` are of the samples that are taken."""
    halves, high = _halves(part, variances, prompts), _error(part.seeds, variances, prompts)
    error, low = high, 0.0
    if error == 0:
        return 0.0
    while _power(high, halves, error) < wanted:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, halves, error) >= wanted else (middle, high)
    return high


def called_equal(part: SeedPart, margin: float, difference: float, variances: Variances, prompts: int) -> float:
    """Return the probability of «equal within the margin»: the mean lies a half-width inside the margin."""
    room = margin - _halves(part, variances, prompts)
    error = _error(part.seeds, variances, prompts)
    inside = _above(room - difference, error) - _above(-room - difference, error)
    return float(np.mean(np.where(room > 0, inside, 0.0)))


def _power(difference: float, halves: Array, error: float) -> float:
    return float(np.mean(_above(difference - halves, error) + _above(-difference - halves, error)))


def _draws(seeds: int, totals: Array, others: Array, residuals: Array) -> tuple[Array, Array]:
    """Return pairs' variances between seeds (totals, draws) and all arms' means (totals, draws, seeds, arms).

    The pair's variance takes the quantiles of its law. The two arms are ± half of their difference beside a common
    part, so their own variances are right as well.
    """
    from scipy.special import chdtri

    rng = np.random.default_rng(GENERATOR)
    quantiles = _strata(draws_of(seeds))
    own = chdtri(seeds - 1, 1 - quantiles) / (seeds - 1)
    normal = rng.normal(size=(len(quantiles), seeds, 2 + len(others)))
    gap = normal[..., 0] - normal[..., 0].mean(axis=1, keepdims=True)
    gap *= np.sqrt(own / gap.var(axis=1, ddof=1))[:, None]
    common = normal[..., 1] / 2
    pair = np.stack([common + gap / 2, common - gap / 2], axis=-1) * np.sqrt(totals)[:, None, None, None]
    rest_of = normal[..., 2:] * np.sqrt(others + residuals[:, None] / 2)[:, None, None, :]
    return own * totals[:, None], np.concatenate([pair, rest_of], axis=-1)


def other_seeds(variances: Variances, family: Family) -> Array:
    """Return the variance of a seed's effect of each arm outside the pair."""
    return np.array(family.others or (variances.seed / 2,) * (family.arms - 2), dtype=np.float64)


def _halves(part: SeedPart, variances: Variances, prompts: int) -> Array:
    """Return the half-widths (draws): the seeds' part and what the prompts' estimated variance adds."""
    from scipy.special import stdtrit

    squared = part.at(variances.seed + variances.residual / prompts)
    quantile = stdtrit(prompts - 1, (1 - part.level) / 2)
    return np.sqrt(squared + quantile**2 * _prompt_parts(part.seeds, variances, prompts))


def _prompt_parts(seeds: int, variances: Variances, prompts: int) -> Array:
    """Return the estimated parts of the mean's variance that prompts cause (draws): 0 where they look like none."""
    rng = np.random.default_rng(GENERATOR + 1)
    strata = _strata(draws_of(seeds))
    ratios = (
        _mean_square_ratio(freedom, rng.permutation(strata)) for freedom in (prompts - 1, (seeds - 1) * (prompts - 1))
    )
    by_prompt, by_rest = ratios
    excess = (seeds * variances.prompt + variances.residual) * by_prompt - variances.residual * by_rest
    return np.maximum(excess, 0.0) / (seeds * prompts)


def _mean_square_ratio(freedom: int, quantiles: Array) -> Array:
    """Return the quantiles of a mean square over its expectation."""
    from scipy.special import chdtri

    result: Array = chdtri(freedom, 1 - quantiles) / freedom
    return result


def draws_of(seeds: int) -> int:
    """Return how many draws power is averaged over."""
    return min(MOST_DRAWS, max(FEWEST_DRAWS, SEED_DRAWS // seeds))


def _strata(count: int) -> Array:
    return (np.arange(count) + 0.5) / count


def _error(seeds: int, variances: Variances, prompts: int) -> float:
    seed = (variances.seed + variances.residual / prompts) / seeds
    return math.sqrt(seed + variances.prompt / prompts)


def _above(distance: Array, error: float) -> Array:
    """Return P(normal error < distance)."""
    from scipy.special import ndtr

    if error == 0:
        certain: Array = (distance > 0).astype(np.float64)
        return certain
    result: Array = ndtr(distance / error)
    return result
