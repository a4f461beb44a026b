"""Variances between seeds, moderated over all arms: what few seeds of one arm cannot say, the others help to say.

An arm is what is compared, here an objective at its best setting. With few seeds its own variance between seeds is all
but unknown, and a test that trusts it is wrong far too often in the tails that many comparisons need. The variances of
all arms are taken as draws from one law, a scaled inverse χ² with ``d`` degrees of freedom (Smyth 2004, Stat. Appl.
Genet. Mol. Biol. 3, 3: limma). How alike they are, ``d``, is itself known badly from a dozen arms, so tests average
over it (Bayes, with a prior that leans to «unlike») in place of an estimate, and each pair's own variance alone has
the weight of one pair among all: none is called different that its own test, as the only one, would not tell apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FREEDOMS = np.array([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1024.0])
"""Degrees of freedom d that tests average over, even in log d but for the last («equal»); a priori as (1 + d)^−½."""
SCALES = np.linspace(-4.0, 6.0, 31)
"""Log of the prior's scale, from the mean log variance of the arms: the grid over which its likelihood is summed."""
SWEEPS = 30
"""Alternating fits of arms and seeds; where all arms have all seeds, the first one is exact."""
LEAST = 1e-12
"""The smallest variance, as a share of the largest one, that enters a logarithm."""


@dataclass(frozen=True)
class SeedPrior:
    """What the arms of one table say of an arm's variance between seeds.

    ``weights`` (…, freedoms): posterior of each of ``FREEDOMS``; ``scales`` (…, freedoms): the law's scale, score²;
    ``alone`` (…): the weight of a pair's own variance alone, 1 where no other arms are there to learn from.
    """

    weights: Array
    scales: Array
    alone: Array


def seed_prior(means: Array) -> SeedPrior:
    """Return the prior of tables of seeds' means (…, seeds, arms); NaN where an arm lacks a seed.

    What a seed adds to all arms alike is taken out first, since it drops out of every difference. Two arms leave
    nothing to learn from: their one difference stands for itself.
    """
    variance, freedom = arm_variances(means)
    usable = freedom > 0
    arms = np.maximum(usable.sum(axis=-1), 2)
    largest = np.max(np.where(usable, variance, 0.0), axis=-1, keepdims=True, initial=0.0)
    clipped = np.maximum(variance, LEAST * np.where(largest > 0, largest, 1.0))
    logs = np.where(usable, np.log(clipped), 0.0)
    centre = logs.sum(axis=-1, keepdims=True) / arms[..., None]
    likelihood = _log_likelihood(logs - centre, np.where(usable, freedom, 0.0)) - np.log1p(FREEDOMS)[:, None] / 2
    likelihood -= likelihood.max(axis=(-2, -1), keepdims=True)
    posterior = np.exp(likelihood)
    posterior /= posterior.sum(axis=(-2, -1), keepdims=True)
    weights = posterior.sum(axis=-1)
    scale = (posterior * np.exp(centre + SCALES)[..., None, :]).sum(axis=-1) / np.maximum(weights, 1e-300)
    return SeedPrior(weights, np.where(weights > 1e-300, scale, 1.0), 2 / (arms * (arms - 1)))


def arm_variances(means: Array) -> tuple[Array, Array]:
    """Return each arm's variance over seeds (…, arms) after what its seeds add to all, and its degrees of freedom."""
    present = np.isfinite(means)
    counts = present.sum(axis=-2)
    rest = np.where(present, means, 0.0)
    # of two arms, or of one at a seed, nothing would be left of their own
    several = (counts > 0).sum(axis=-1)[..., None, None] > 2
    seed_arms = np.where(several, np.maximum(present.sum(axis=-1, keepdims=True), 1), 1)
    for _ in range(1 if present.all() else SWEEPS):
        rest = np.where(present, rest - rest.sum(axis=-2, keepdims=True) / np.maximum(counts, 1)[..., None, :], 0.0)
        shared = np.where(seed_arms > 1, rest.sum(axis=-1, keepdims=True) / seed_arms, 0.0)
        rest = np.where(present, rest - shared, 0.0)
    # of a squared residual, (arms − 1) / arms is the arm's own where arms vary alike
    share = (rest**2 * np.where(seed_arms > 1, seed_arms / np.maximum(seed_arms - 1, 1), 1.0)).sum(axis=-2)
    freedom = np.maximum(counts - 1, 0)
    return share / np.maximum(freedom, 1), freedom.astype(np.float64)


def moderate(own: Array, freedom: Array, prior: SeedPrior, *, arms: int) -> tuple[Array, Array]:
    """Return variances (…, freedoms) of differences under each of ``FREEDOMS``, and the degrees of freedom of each.

    ``own`` (…, pairs): a difference's variance over seeds, with ``freedom`` (…, pairs); ``arms``: how many of its sides
    vary, 2 for two arms, 1 against what is fixed.
    """
    total = FREEDOMS + freedom[..., None]
    scale = arms * prior.scales[..., None, :]
    return (FREEDOMS * scale + freedom[..., None] * own[..., None]) / total, total


def _log_likelihood(logs: Array, freedom: Array) -> Array:
    """Return the log-likelihood (…, freedoms, scales) of arms' log variances: an F law with their two freedoms."""
    from scipy.special import gammaln

    shape = (*logs.shape[:-1], len(FREEDOMS), len(SCALES))
    result = np.empty(shape)
    for index, prior in enumerate(FREEDOMS):
        ratio = np.divide(freedom, prior)
        constant = gammaln((freedom + prior) / 2) - gammaln(prior / 2)
        constant = (constant + freedom / 2 * np.log(np.where(ratio > 0, ratio, 1.0))).sum(axis=-1)
        for place, scale in enumerate(SCALES):
            above = logs - scale
            terms = freedom / 2 * above - (freedom + prior) / 2 * np.log1p(ratio * np.exp(above))
            result[..., index, place] = constant + terms.sum(axis=-1)
    return result
