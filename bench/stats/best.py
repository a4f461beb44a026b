"""Comparisons with the best: which arms may be the best, and which are shown to be within a margin of it.

The best arm is unknown but fixed, so K − 1 one-sided comparisons with it suffice, whichever it is and however close the
others are (Hsu 1984, Ann. Stat. 12, 1136; Edwards and Hsu 1983, J. Am. Stat. Assoc. 78, 965). With 95 % probability the
best arm is among the candidates *and* each arm that is called near it is: two arms near the best differ by less than
the margin. To say that an arm is strictly worse takes more, all pairs: under ties an arm that is no candidate is not
worse (``verdicts``).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.crossed import Array
from bench.stats.moderated import SeedPrior
from bench.stats.pairwise import Differences, exceeds, half_widths

Flags = NDArray[np.bool_]


def level_with_best(alpha: ArrayLike, arms: ArrayLike) -> Array:
    """Return the two-sided p of each comparison whose one-sided level is ``alpha`` / (arms − 1)."""
    return 2 * np.asarray(alpha, dtype=np.float64) / np.maximum(np.asarray(arms) - 1, 1)


def with_best(
    differences: Differences,
    prior: SeedPrior,
    *,
    arms: int,
    alpha: ArrayLike,
    margin: float,
    compared: Flags | None = None,
) -> tuple[Flags, Flags]:
    """Return which arms (…, arms) are candidates for the best, and which are shown to be within ``margin`` of it.

    ``differences`` (…, pairs) of all pairs in the order of ``numpy.triu_indices``; ``compared`` (…, arms): arms in the
    comparison, None for all; ``alpha`` (…): the probability of any false statement.
    """
    present = np.ones((*differences.mean.shape[:-1], arms), dtype=bool) if compared is None else compared
    count = present.sum(axis=-1)
    p = level_with_best(alpha, count)[..., None]
    prior = _shared(prior, count)
    one, other = np.triu_indices(arms, 1)
    both = present[..., one] & present[..., other]
    mean = differences.mean
    below, above = (exceeds(differences, prior, p=p, distance=far) & both for far in (-mean, mean))
    candidates = present & ~_any(below, one, arms) & ~_any(above, other, arms)
    far_below, far_above = (
        ~exceeds(differences, prior, p=p, distance=far) & both for far in (mean + margin, margin - mean)
    )
    short = _any(far_below & candidates[..., other], one, arms) | _any(far_above & candidates[..., one], other, arms)
    return candidates, present & ~short


def shortfalls(differences: Differences, prior: SeedPrior, *, arms: int, alpha: float, candidates: Flags) -> Array:
    """Return how far (arms) each arm may lie below the best, with probability 1 − ``alpha`` for all at once."""
    prior = _shared(prior, np.asarray(arms))
    half = half_widths(differences, prior, p=level_with_best(alpha, arms))
    result = np.zeros(arms)
    for place, (one, other) in enumerate(zip(*np.triu_indices(arms, 1), strict=True)):
        for arm, rival, gap in ((one, other, differences.mean[place]), (other, one, -differences.mean[place])):
            if candidates[rival]:
                result[arm] = max(result[arm], half[place] - gap)
    return result


def _shared(prior: SeedPrior, count: NDArray[np.int64]) -> SeedPrior:
    """Return the prior for a family of ``count`` − 1 comparisons."""
    alone = np.where(prior.alone < 1, 1 / np.maximum(count - 1, 1), 1.0)
    return replace(prior, alone=alone)


def _any(flags: Flags, owner: NDArray[np.int64], arms: int) -> Flags:
    """Return for each arm (…, arms) whether a flag of a pair (…, pairs) that it owns is set."""
    result = np.zeros((*flags.shape[:-1], arms), dtype=bool)
    for arm in range(arms):
        result[..., arm] = flags[..., owner == arm].any(axis=-1)
    return result
