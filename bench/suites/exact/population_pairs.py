"""Preference data without sampling error: every pair in exact proportion to its probability."""

from fractions import Fraction
from math import lcm

import numpy as np

from bench.errors import UsageError
from bench.suites.exact.indexed_pairs import IndexedPairs, as_pairs
from bench.suites.exact.problem import LEVELS, Problem
from bench.suites.pairs import Pair

LARGEST_POPULATION = 200_000
LARGEST_DENOMINATOR = 20


def population_pairs(problem: Problem) -> list[Pair]:
    """Return every two completions of every context in both orders, as often as their probabilities say, exactly.

    The number of copies is the same for each two completions, and the smallest that makes all counts whole. Scores are
    r* of each, which is what the labels are of, so that the gap is negative where the worse one is preferred.

    Raises:
        UsageError: the probabilities are not rational with small denominators, or the rows would be too many.
    """
    flips = _rational(problem)
    count = len(problem.completions)
    couples = problem.spec.contexts * count * (count - 1) // 2
    if couples > LARGEST_POPULATION:
        raise _too_many(couples, copies=1)
    one, two = np.triu_indices(count, k=1)
    level = np.searchsorted(LEVELS, problem.reward)
    gap = level[:, one] - level[:, two]  # rewards are log 2^level, so P(one ≻ two) is a function of the gap alone
    share = {each: (1 - 2 * flips) * (1 - Fraction(1, 1 + 2**each)) + flips for each in range(len(LEVELS))}
    share |= {-each: 1 - p for each, p in share.items()}
    copies = lcm(*(share[each].denominator for each in np.unique(gap).tolist()))
    if couples * copies > LARGEST_POPULATION:
        raise _too_many(couples, copies=copies)
    wins = np.zeros_like(gap)
    for each in np.unique(gap).tolist():
        wins[gap == each] = int(copies * share[each])
    counts = np.stack([wins, copies - wins], axis=-1).ravel()
    context = np.repeat(np.arange(problem.spec.contexts), 2 * len(one)).repeat(counts)
    chosen = np.tile(np.stack([one, two], axis=-1).ravel(), problem.spec.contexts).repeat(counts)
    rejected = np.tile(np.stack([two, one], axis=-1).ravel(), problem.spec.contexts).repeat(counts)
    return as_pairs(
        IndexedPairs(
            context=context,
            chosen=chosen,
            rejected=rejected,
            chosen_score=problem.reward[context, chosen],
            rejected_score=problem.reward[context, rejected],
        ),
        problem,
    )


def _rational(problem: Problem) -> Fraction:
    """Return the flips as a fraction. Raise UsageError for a problem whose probabilities are not rational."""
    spec = problem.spec
    wanted = {"reward": "levels", "temperature": 1.0, "proxy_noise": 0.0, "length_bias": 0.0, "ties": 0.0, "tilt": 0.0}
    for name, value in wanted.items():
        if (actual := getattr(spec, name)) != value:
            raise UsageError(
                f"labels=population with {name}={actual}: every pair is there in exact proportion of its probability",
                fix=f"give {name}={value}, or labels=sampled",
            )
    flips = Fraction(spec.flips).limit_denominator(LARGEST_DENOMINATOR)
    if abs(float(flips) - spec.flips) > 1e-12:
        raise UsageError(
            f"labels=population with flips={spec.flips}: counts are whole only for a simple fraction",
            fix=f"give flips={float(flips)!r} ({flips}), or another of denominator up to {LARGEST_DENOMINATOR}",
        )
    return flips


def _too_many(couples: int, *, copies: int) -> UsageError:
    return UsageError(
        f"labels=population makes {couples * copies:,} pairs, {copies} for each two completions of a context: "
        f"at most {LARGEST_POPULATION:,}",
        fix="give fewer contexts or symbols, a smaller length, or flips of a smaller denominator (0, 0.25)",
    )
