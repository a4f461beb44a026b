"""Intervals over seeds hold their mean, and cover the truth as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from bench.stats.intervals import (
    mean_interval,
    normal_interval,
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


def test_one_seed_takes_its_interval_from_the_prompts_and_says_so():
    found = mean_interval([0.5], stderrs=[0.1])
    assert (found.source, found.low) == ("prompts", pytest.approx(0.5 - 1.959964 * 0.1))
    assert mean_interval([0.5, 0.7], stderrs=[0.1, 0.1]).source == "seeds"
    assert math.isnan(mean_interval([0.5]).low)
    assert math.isnan(mean_interval([]).mean)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: t_interval([1.0]), "two values"),
        (lambda: normal_interval(0.0, stderr=-1.0), "standard error"),
    ],
)
def test_what_gives_no_interval_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
