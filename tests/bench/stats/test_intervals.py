"""Intervals hold their mean, cover the truth as often as they say, and pairing pays."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from bench.stats.intervals import (
    bootstrap_interval,
    mean_interval,
    normal_interval,
    paired_bootstrap,
    paired_difference,
    t_interval,
)

NUMBERS = st.floats(-1e3, 1e3)


@given(st.lists(NUMBERS, min_size=2, max_size=12))
def test_a_t_interval_holds_its_mean_and_ignores_the_order(values):
    found = t_interval(values)
    assert found.low <= found.mean <= found.high
    assert found == t_interval(values[::-1])


def test_a_t_interval_is_scipys():
    values = [0.31, 0.18, 0.27, 0.4]
    low, high = reference.t.interval(0.95, 3, loc=np.mean(values), scale=reference.sem(values))
    found = t_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_a_t_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [t_interval(list(rng.normal(2, 1, size=4))) for _ in range(2000)]
    # binomial standard error of 0.95 over 2000: 0.005
    assert np.mean([one.low <= 2 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)


@given(st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=3, max_size=6), st.integers(0, 2**31))
def test_a_bootstrap_interval_holds_its_mean_and_follows_its_generator(scores, seed):
    first, second = (bootstrap_interval(scores, rng=np.random.default_rng(seed), resamples=50) for _ in range(2))
    assert first.low <= first.mean <= first.high
    assert first == second


def test_the_bootstrap_sees_prompt_noise_that_all_seeds_share():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(1, 100)) + 0.01 * rng.normal(size=(5, 100))
    wide = bootstrap_interval(scores, rng=rng)
    assert wide.half == pytest.approx(1.96 * scores[0].std() / 10, rel=0.15)
    assert t_interval(list(scores.mean(axis=1))).half < wide.half / 5


def test_pairing_by_prompt_narrows_a_difference():
    rng = np.random.default_rng(2)
    prompts = rng.normal(size=200)
    first, second = prompts + 0.3 + 0.1 * rng.normal(size=200), prompts + 0.1 * rng.normal(size=200)
    paired = paired_bootstrap(first, second, rng=rng)
    apart = paired_bootstrap(first, rng.permutation(second), rng=rng)
    assert paired.low < 0.3 < paired.high
    assert paired.half < apart.half / 5


@given(st.lists(NUMBERS, min_size=2, max_size=20), st.integers(0, 100))
def test_nothing_differs_from_itself(scores, seed):
    found = paired_bootstrap(scores, scores, rng=np.random.default_rng(seed), resamples=20)
    assert (found.low, found.mean, found.high) == (0, 0, 0)


def test_one_seed_takes_its_interval_from_the_prompts_and_says_so():
    found = mean_interval([0.5], stderrs=[0.1])
    assert (found.source, found.low) == ("prompts", pytest.approx(0.5 - 1.959964 * 0.1))
    assert mean_interval([0.5, 0.7], stderrs=[0.1, 0.1]).source == "seeds"
    assert math.isnan(mean_interval([0.5]).low)
    assert math.isnan(mean_interval([]).mean)


def test_a_paired_difference_uses_common_seeds_only():
    found = paired_difference({1: 1.0, 2: 2.0, 3: 99.0}, {1: 0.5, 2: 1.5, 4: -99.0})
    assert (found.mean, found.low, found.high, found.n) == (0.5, 0.5, 0.5, 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: t_interval([1.0]), "two values"),
        (lambda: bootstrap_interval([[1.0], [2.0]], rng=np.random.default_rng(0)), "three seeds"),
        (lambda: bootstrap_interval([[math.nan]] * 3, rng=np.random.default_rng(0)), "finite"),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0], rng=np.random.default_rng(0)), "same prompts"),
        (lambda: normal_interval(0.0, stderr=-1.0), "standard error"),
    ],
)
def test_what_gives_no_interval_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
