"""Tests of pairs: p-values agree with their intervals, corrections hold, and pairing pays."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from bench.stats.crossed import crossed_interval
from bench.stats.paired import holm, paired_test, paired_tests, probability_of_improvement
from tests.bench.stats.coverage import CASES, coverage

TABLE = st.lists(st.lists(st.integers(-50, 50), min_size=5, max_size=5), min_size=3, max_size=3)
PS = st.lists(st.floats(0, 1), max_size=12)


@given(TABLE, TABLE, st.sampled_from([0.5, 0.9, 0.95]))
def test_a_p_value_is_below_one_minus_the_level_exactly_where_the_interval_leaves_out_zero(first, second, level):
    found = paired_test(first, second, level=level)
    if abs(found.p - (1 - level)) > 1e-6:
        assert (found.p < 1 - level) == (not found.difference.low <= 0 <= found.difference.high)


@given(TABLE, TABLE)
def test_a_test_turned_round_has_the_same_p_value(first, second):
    one, other = paired_test(first, second), paired_test(second, first)
    assert one.difference.mean == -other.difference.mean
    assert one.p == pytest.approx(other.p, abs=1e-9)


def test_nothing_differs_from_itself():
    scores = np.random.default_rng(0).normal(size=(3, 20))
    found = paired_test(scores, scores)
    assert (found.difference.low, found.difference.high, found.p) == (0, 0, 1)


def test_a_difference_that_never_varies_is_certain():
    assert paired_test(np.ones((3, 20)), np.zeros((3, 20))).p == 0


def test_without_an_effect_of_prompts_it_is_students_paired_test():
    first, second = np.asarray([0.3, 0.5, 0.9, 0.4]), np.asarray([0.1, 0.4, 0.3, 0.5])
    found = paired_test(np.repeat(first[:, None], 9, axis=1), np.repeat(second[:, None], 9, axis=1))
    assert found.p == pytest.approx(reference.ttest_rel(first, second).pvalue, rel=1e-6)


def test_pairing_by_prompt_narrows_a_difference():
    rng = np.random.default_rng(2)
    prompts = rng.normal(size=(1, 200))
    first, second = (gain + prompts + 0.1 * rng.normal(size=(3, 200)) for gain in (0.3, 0.0))
    paired, apart = paired_test(first, second), paired_test(first, rng.permutation(second, axis=1))
    assert paired.difference.low < 0.3 < paired.difference.high
    assert paired.difference.half < apart.difference.half / 3


def test_p_values_without_a_difference_are_even():
    rng = np.random.default_rng(4)
    ps = [paired_test(rng.normal(size=(3, 30)) + rng.normal(size=(3, 1)), np.zeros((3, 30))).p for _ in range(400)]
    # binomial standard errors: 0.011 and 0.025
    assert np.mean(np.asarray(ps) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.asarray(ps) < 0.5) == pytest.approx(0.5, abs=0.07)


def test_one_seed_and_one_prompt_test_nothing():
    assert math.isnan(paired_test([[1.0]], [[0.0]]).p)


def test_holm_gives_its_textbook_values():
    # 4 · 0.005, 3 · 0.01, then 2 · 0.03 = 0.06 which 1 · 0.04 must not fall below
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(PS)
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferronis(ps):
    found = holm(ps)
    order = sorted(range(len(ps)), key=lambda at: (ps[at], found[at]))
    assert [found[at] for at in order] == sorted(found)
    assert all(p <= one <= min(1, p * len(ps)) for p, one in zip(ps, found, strict=True))


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, math.nan])


@given(TABLE, TABLE)
def test_improvement_is_the_share_of_pairs_won_and_turned_round_the_rest(first, second):
    found, other = probability_of_improvement(first, second), probability_of_improvement(second, first)
    pairs = [(a > b) + (a == b) / 2 for one in first for two in second for a, b in zip(one, two, strict=True)]
    assert found.mean == pytest.approx(np.mean(pairs), abs=1e-12)
    assert (other.mean, other.low) == pytest.approx((1 - found.mean, 1 - found.high), abs=1e-6)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean <= found.high + 1e-12 <= 1 + 1e-9


def test_improvement_over_itself_is_a_half():
    scores = np.random.default_rng(0).normal(size=(3, 50))
    assert probability_of_improvement(scores, scores).mean == pytest.approx(0.5)
    assert probability_of_improvement(scores + 100, scores).low == 1


@pytest.mark.parametrize("case", [case for case in CASES if case != "seeds alone"])
def test_an_interval_of_improvement_holds_the_truth_in_92_to_98_of_100_tables(case):
    found = coverage(case, (3, 50), statistic="improvement", skewed=False, count=1500)
    assert 0.92 <= round(found, 2) <= 0.98


@pytest.mark.parametrize("test", [paired_test, probability_of_improvement])
def test_tables_of_other_seeds_or_prompts_are_refused(test):
    with pytest.raises(ValueError, match="same seeds"):
        test(np.zeros((3, 4)), np.zeros((2, 4)))


@pytest.mark.parametrize("shape", [(2, 5), (5, 192), (3, 40), (1, 30), (6, 1)])
def test_many_tests_at_once_are_what_each_is_alone(shape):
    draw = np.random.default_rng(7)
    pairs = [(draw.normal(size=shape) + draw.normal(scale=0.4), draw.normal(size=shape)) for _ in range(12)]
    pairs.append((pairs[0][0], pairs[0][0]))
    together = paired_tests(pairs)
    assert [test.p for test in together] == [paired_test(*pair).p for pair in pairs]
    assert together[-1].p == 1.0
    for (first, second), test in zip(pairs[:-1], together, strict=False):
        # At the level 1 − p the interval touches 0.
        edge = crossed_interval(first - second, level=1 - test.p)
        assert edge.half == pytest.approx(abs(edge.mean), rel=1e-6)


def test_shapes_may_differ_from_test_to_test():
    draw = np.random.default_rng(3)
    pairs = [(draw.normal(size=shape), draw.normal(size=shape)) for shape in ((2, 9), (4, 9), (1, 1), (2, 9))]
    assert [math.isnan(test.p) for test in paired_tests(pairs)] == [False, False, True, False]
    assert [test.p for test in paired_tests(pairs)][:2] == [paired_test(*pair).p for pair in pairs[:2]]
