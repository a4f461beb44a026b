"""Variances by cause of arms on common seeds and prompts: each arm's own, the typical pair's, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.stats.crossed import Array, mean_squares
from bench.stats.moderated import SeedPrior, arm_variances, moderate, seed_prior
from bench.stats.power import Variances


@dataclass(frozen=True)
class ArmComponents:
    """Variances (score²) of one arm by cause, after what seeds and prompts add to all arms; a pair's are their sum.

    ``seed``, ``prompt``, ``residual``: unbiased, 0 where the estimate is negative. ``moderated``: ``seed`` as all arms
    together say it (``moderated``). ``prompt_noise``, ``residual_noise``: what one sample of a prompt adds to the
    prompts' and the residual variance, 0 where no prompt has several.
    """

    seed: float
    prompt: float
    residual: float
    moderated: float
    prompt_noise: float = 0.0
    residual_noise: float = 0.0


def arm_components(tables: Array) -> list[ArmComponents]:
    """Return the components of each arm of ``tables`` (arms, seeds, prompts), two of each or more.

    Of two arms nothing tells whose variance is whose: each gets half. Raises ValueError for fewer.
    """
    arms, seeds, prompts = _checked(tables)
    squares = mean_squares(tables - tables.mean(axis=0))
    seed, prompt, residual = (_own(each) for each in (squares.seed, squares.prompt, squares.residual))
    of_seed = np.maximum(seed - residual, 0.0) / prompts
    of_prompt = np.maximum(prompt - residual, 0.0) / seeds
    moderated = np.maximum(_moderated(tables) - residual / prompts, 0.0) if arms > 2 else of_seed
    columns = (of_seed, of_prompt, np.maximum(residual, 0.0), moderated)
    return [ArmComponents(*map(float, row)) for row in zip(*columns, strict=True)]


def with_noise(components: Sequence[ArmComponents], samples: Array) -> list[ArmComponents]:
    """Return components with what sampling adds, from the single samples (samples, arms, seeds, prompts), two or more.

    A sample's noise is the same for all arms and seeds, so part of what it does to a prompt's score is shared by an
    arm's seeds: that part is the prompts', the rest the residual's.
    """
    count, _, seeds, prompts = samples.shape
    if count < 2:
        raise ValueError(f"sampling noise needs two samples of a prompt or more; got the shape {samples.shape}")
    own = samples - samples.mean(axis=1, keepdims=True)
    own = own - own.mean(axis=0)
    shared = own.mean(axis=2, keepdims=True)
    rest = np.square(own - shared).sum(axis=(0, 2, 3)) / ((count - 1) * (seeds - 1) * prompts)
    between = seeds * np.square(shared).sum(axis=(0, 2, 3)) / ((count - 1) * prompts)
    rest, between = _own(rest), _own(between)
    noise = np.maximum(between - rest, 0.0) / seeds
    return [
        replace(one, prompt_noise=float(of_prompt), residual_noise=max(float(of_rest), 0.0))
        for one, of_prompt, of_rest in zip(components, noise, rest, strict=True)
    ]


def typical_pair(components: Sequence[ArmComponents], *, samples: int = 1) -> Variances:
    """Return a typical pair's variances, one sample a prompt: twice the arms' median variance between seeds, and means.

    One arm with a large variance between seeds would decide a mean; the others are alike, and unbiased as means.
    ``samples``: of each prompt, as the components were measured.
    """
    seed = float(np.median([one.moderated for one in components]))
    names = ("prompt", "residual", "prompt_noise", "residual_noise")
    prompt, residual, *noise = (2 * float(np.mean([getattr(one, name) for one in components])) for name in names)
    # an estimate of noise may exceed that of the whole
    of_prompt, of_residual = min(noise[0], prompt * samples), min(noise[1], residual * samples)
    more = 1 - 1 / samples
    return Variances(2 * seed, prompt + more * of_prompt, residual + more * of_residual, of_prompt, of_residual)


def other_arms(components: Sequence[ArmComponents]) -> tuple[float, ...]:
    """Return the variances between seeds of all arms but the two in the middle, which are the typical pair."""
    ordered = sorted(one.moderated for one in components)
    middle = (len(ordered) - 2) // 2
    return (*ordered[:middle], *ordered[middle + 2 :])


def seed_range(typical: Variances, *, arms: int, seeds: int, prompts: int, level: float = 0.9) -> tuple[float, float]:
    """Return the interval of the typical pair's seed variance: χ² of the variance of its seeds' means over all arms."""
    from scipy.special import chdtri

    freedom, residual = (arms - 1) * (seeds - 1), typical.residual / prompts
    tail = (1 - level) / 2
    low, high = ((typical.seed + residual) * freedom / chdtri(freedom, side) for side in (tail, 1 - tail))
    return max(float(low) - residual, 0.0), max(float(high) - residual, 0.0)


def expected_variance(own: Array, freedom: Array, prior: SeedPrior, *, arms: int) -> Array:
    """Return variances between seeds: the mean over all that the moderated test counts ``own`` as (``moderate``)."""
    variances, _ = moderate(own, freedom, prior, arms=arms)
    pooled = (prior.weights * variances).sum(axis=-1)
    result: Array = (1 - prior.alone) * pooled + prior.alone * own
    return result


def _checked(tables: Array) -> tuple[int, int, int]:
    if tables.ndim != 3 or min(tables.shape) < 2:
        raise ValueError(f"components need two arms, seeds and prompts or more; got the shape {tables.shape}")
    arms, seeds, prompts = tables.shape
    return arms, seeds, prompts


def _own(squares: Array) -> Array:
    """Return each arm's own mean square from those after the arms' mean was taken out.

    An arm's is (1 − 2/arms) of its own and 1/arms of the arms' mean then; solved for its own.
    """
    arms = len(squares)
    if arms == 2:
        return 2 * squares
    result: Array = (squares - squares.sum() / (arms * (arms - 1))) / (1 - 2 / arms)
    return result


def _moderated(tables: Array) -> Array:
    """Return each arm's variance of seeds' means, the mean over what the moderated test counts it as."""
    means = tables.mean(axis=2).T
    own, freedom = arm_variances(means)
    return expected_variance(own, freedom, seed_prior(means), arms=1)
