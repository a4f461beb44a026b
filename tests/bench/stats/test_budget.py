"""More trials never expect less, n = 1 is the mean and n = N the best; the frontier's area is an integral."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.budget import expected_best, hypervolume, reward_at_kl, sensitivity

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=9)
POINTS = st.lists(st.tuples(st.floats(0, 10), st.floats(-5, 5)), max_size=8)


def best(values, *, resamples=50):
    return expected_best(values, rng=np.random.default_rng(0), resamples=resamples)


@given(VALUES)
def test_the_expected_best_is_the_mean_of_the_best_of_every_choice_of_n_trials(values):
    expected = [np.mean([max(c) for c in combinations(values, n)]) for n in range(1, len(values) + 1)]
    assert [one.mean for one in best(values)] == pytest.approx(expected, abs=1e-9)


@given(VALUES)
def test_the_expected_best_goes_from_the_mean_to_the_best_and_never_falls(values):
    found = [one.mean for one in best(values)]
    assert (found[0], found[-1]) == pytest.approx((np.mean(values), max(values)), abs=1e-9)
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(found))


@given(VALUES)
def test_an_interval_of_the_expected_best_holds_its_mean_and_follows_its_generator(values):
    assert all(one.low <= one.mean <= one.high for one in best(values))
    assert best(values) == best(values)


def test_the_expected_best_of_drawn_trials_is_unbiased():
    rng = np.random.default_rng(1)
    found = np.mean([[one.mean for one in best(rng.uniform(size=6), resamples=2)] for _ in range(3000)], axis=0)
    # the best of n uniform numbers: n / (n + 1)
    assert found == pytest.approx([n / (n + 1) for n in range(1, 7)], abs=0.01)


def test_the_interval_holds_the_expected_best_of_few_out_of_many_and_is_known_to_be_too_narrow_for_all_of_them():
    rng = np.random.default_rng(2)
    found = [expected_best(rng.normal(size=24), rng=rng, resamples=200) for _ in range(400)]
    # E[max of 2 normals] = 1 / √π; of 24, 1.9477 (tables of order statistics); standard errors 0.015 and 0.025
    assert np.mean([one[1].low <= 1 / math.sqrt(math.pi) <= one[1].high for one in found]) > 0.88
    assert np.mean([one[23].low <= 1.9477 <= one[23].high for one in found]) == pytest.approx(0.46, abs=0.08)


def test_a_diverged_trial_counts_as_the_worst_and_never_wins():
    assert best([1.0, math.nan, 3.0]) == best([1.0, 1.0, 3.0])
    assert all(math.isnan(one.mean) and math.isnan(one.high) for one in best([math.nan, math.nan]))
    assert best([]) == []


def test_sensitivity_counts_the_diverged_and_spans_the_rest():
    found = sensitivity([3.0, math.nan, 1.0, 2.5])
    assert (found.best, found.median, found.worst, found.range, found.diverged, found.n) == (3, 2.5, 1, 2, 1, 4)
    assert math.isnan(sensitivity([math.nan]).best)
    assert sensitivity([]).n == 0


def test_hypervolume_is_the_area_under_the_staircase():
    # 1 from KL 1 to 4, then 2 more from 2 to 4; the point at (3, 0.5) is below the stairs
    assert hypervolume([(2, 3), (1, 1), (3, 0.5)], kl_max=4, reward_min=0) == 7
    assert hypervolume([(2, 3), (5, 9), (1, -1), (1, math.nan)], kl_max=4, reward_min=0) == 6
    assert hypervolume([], kl_max=4, reward_min=0) == 0


@given(POINTS, st.integers(1, 10), st.integers(-5, 5))
def test_hypervolume_is_the_integral_of_the_best_reward_within_a_budget(points, kl_max, reward_min):
    edges = sorted({0.0, float(kl_max), *(kl for kl, _ in points if kl < kl_max)})
    steps = [high - low for low, high in pairwise(edges)]
    heights = [np.nanmax([reward, reward_min]) - reward_min for reward in reward_at_kl(points, edges[:-1])]
    assert hypervolume(points, kl_max=kl_max, reward_min=reward_min) == pytest.approx(np.dot(steps, heights), abs=1e-9)


@given(POINTS, st.tuples(st.floats(0, 10), st.floats(-5, 5)))
def test_one_more_point_never_makes_a_frontier_smaller(points, more):
    before, after = (hypervolume(one, kl_max=5, reward_min=-1) for one in (points, [*points, more]))
    assert after >= before - 1e-9


def test_the_reward_within_a_budget_is_the_best_and_nan_where_nothing_is_as_near():
    found = reward_at_kl([(1, 0.5), (3, 0.2), (4, 0.9), (0, math.nan)], [0.5, 1, 3.5, 9])
    assert math.isnan(found[0])
    assert found[1:] == [0.5, 0.5, 0.9]


def test_a_largest_kl_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0 nats"):
        hypervolume([], kl_max=0, reward_min=0)
