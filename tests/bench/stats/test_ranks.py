"""Ranks add up, ties share theirs, and the test that all are alike is scipy's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from bench.stats.ranks import average_ranks, friedman

BLOCKS = st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=2, max_size=6)


@given(BLOCKS)
def test_average_ranks_average_to_the_middle_rank(rows):
    found = average_ranks({str(at): row for at, row in enumerate(rows)})
    assert np.mean(list(found.values())) == pytest.approx((len(rows) + 1) / 2)


def test_the_highest_score_has_rank_one_ties_share_theirs_and_a_diverged_run_is_last():
    scores = {"dpo": [3.0, 2.0], "ipo": [1.0, 2.0], "kto": [2.0, math.nan]}
    assert average_ranks(scores) == {"dpo": 1.25, "ipo": 2.25, "kto": 2.5}


def test_friedman_is_scipys_for_three_names_or_more():
    rows = np.random.default_rng(0).normal(size=(4, 12))
    expected = reference.friedmanchisquare(*rows).pvalue
    assert friedman({str(at): row for at, row in enumerate(rows)}) == pytest.approx(expected)


def test_friedman_of_two_names_is_the_sign_test():
    # five wins, one tie: 2 · 0.5⁵
    assert friedman({"a": [1, 2, 3, 4, 5, 6], "b": [0, 1, 2, 3, 4, 6]}) == pytest.approx(2 / 32)


@given(BLOCKS)
def test_friedman_is_a_probability_and_one_where_all_tie(rows):
    assert 0 <= friedman({str(at): row for at, row in enumerate(rows)}) <= 1
    assert friedman({str(at): rows[0] for at in range(len(rows))}) == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: average_ranks({"a": [1.0], "b": [1.0, 2.0]}), "same blocks"),
        (lambda: average_ranks({}), "same blocks"),
        (lambda: average_ranks({"a": []}), "same blocks"),
        (lambda: friedman({"a": [1.0]}), "two names"),
    ],
    ids=["ragged", "none", "no blocks", "one name"],
)
def test_what_cannot_be_ranked_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
