"""Owns comparisons with the best arm: candidates, and arms that are shown to be near it."""

from itertools import combinations

import numpy as np
import pytest

from bench.stats.best import level_with_best, shortfalls, with_best
from bench.stats.moderated import SeedPrior, seed_prior
from bench.stats.pairwise import Differences, half_widths

ALPHA, MARGIN = 0.05, 0.2


def _drawn(
    means: list[float], *, seeds: int = 6, deviation: float = 0.1, seed: int = 0
) -> tuple[Differences, SeedPrior]:
    rng = np.random.default_rng(seed)
    table = np.array(means) + deviation * rng.standard_normal((seeds, len(means)))
    one, other = np.triu_indices(len(means), 1)
    gaps = table[:, one] - table[:, other]
    zeros = np.zeros(len(one))
    parts = Differences(gaps.mean(axis=0), gaps.var(axis=0, ddof=1), zeros, zeros, np.full(len(one), seeds), 1)
    return parts, seed_prior(table)


def _by_hand(parts: Differences, prior: SeedPrior, arms: int) -> tuple[list[bool], list[bool], list[float]]:
    """Return candidates, arms near the best and shortfalls from each pair's half-width."""
    family = SeedPrior(prior.weights, prior.scales, np.asarray(1 / (arms - 1)))
    half = half_widths(parts, family, p=level_with_best(ALPHA, arms))
    gap, width = np.zeros((arms, arms)), np.zeros((arms, arms))
    for place, (one, other) in enumerate(combinations(range(arms), 2)):
        gap[one, other], gap[other, one] = parts.mean[place], -parts.mean[place]
        width[one, other] = width[other, one] = half[place]
    others = [[other for other in range(arms) if other != arm] for arm in range(arms)]
    candidates = [all(gap[arm, other] + width[arm, other] >= 0 for other in others[arm]) for arm in range(arms)]
    short = [
        max([0.0, *(width[arm, other] - gap[arm, other] for other in others[arm] if candidates[other])])
        for arm in range(arms)
    ]
    return candidates, [one < MARGIN for one in short], short


@pytest.mark.parametrize("seed", range(20))
def test_candidates_near_arms_and_shortfalls_follow_from_the_half_widths(seed: int) -> None:
    parts, prior = _drawn([0.0, 0.05, -0.1, -0.3, -0.8], seed=seed, deviation=0.06)
    candidates, near = with_best(parts, prior, arms=5, alpha=ALPHA, margin=MARGIN)
    expected = _by_hand(parts, prior, 5)
    assert (candidates.tolist(), near.tolist()) == expected[:2]
    short = shortfalls(parts, prior, arms=5, alpha=ALPHA, candidates=candidates)
    np.testing.assert_allclose(short, expected[2], rtol=1e-8)


def test_an_arm_that_is_left_out_leaves_the_others_as_if_it_were_not_there() -> None:
    means = [0.0, 0.05, -0.1, 5.0]
    parts, _ = _drawn(means)
    rng = np.random.default_rng(0)
    table = np.array(means) + 0.1 * rng.standard_normal((6, 4))
    prior = seed_prior(np.where(np.arange(4) == 3, np.nan, table))
    compared = np.array([True, True, True, False])
    masked = with_best(parts, prior, arms=4, alpha=ALPHA, margin=MARGIN, compared=compared)
    three = Differences(
        *(column[[0, 1, 3]] for column in (parts.mean, parts.seed, parts.residual, parts.prompt, parts.seeds)), 1
    )
    alone = with_best(three, seed_prior(table[:, :3]), arms=3, alpha=ALPHA, margin=MARGIN)
    for many, few in zip(masked, alone, strict=True):
        assert many[:3].tolist() == few.tolist()
        assert not many[3]


def test_the_best_arm_stays_a_candidate_and_near_arms_are_near_in_nineteen_tables_of_twenty() -> None:
    means, wrong = np.array([0.0, -MARGIN, -MARGIN, -0.05, -0.5]), 0
    for seed in range(400):
        parts, prior = _drawn(means.tolist(), seed=seed, deviation=0.1, seeds=5)
        candidates, near = with_best(parts, prior, arms=5, alpha=ALPHA, margin=MARGIN)
        wrong += not candidates[0] or bool((near & (means <= -MARGIN)).any())
    # 20 of 400 at 5 %; 34 is out of chance's reach
    assert wrong <= 34
