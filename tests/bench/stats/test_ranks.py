"""Ranks add up, and ties share theirs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.ranks import average_ranks

BLOCKS = st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=2, max_size=6)


@given(BLOCKS)
def test_average_ranks_average_to_the_middle_rank(rows):
    found = average_ranks({str(at): row for at, row in enumerate(rows)})
    assert np.mean(list(found.values())) == pytest.approx((len(rows) + 1) / 2)


def test_the_highest_score_has_rank_one_ties_share_theirs_and_a_diverged_run_is_last():
    scores = {"dpo": [3.0, 2.0], "ipo": [1.0, 2.0], "kto": [2.0, math.nan]}
    assert average_ranks(scores) == {"dpo": 1.25, "ipo": 2.25, "kto": 2.5}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_ranks({"a": [1.0], "b": [1.0, 2.0]}), "same blocks"),
        (lambda: average_ranks({}), "same blocks"),
        (lambda: average_ranks({"a": []}), "same blocks"),
    ],
    ids=["ragged", "none", "no blocks"],
)
def test_what_cannot_be_ranked_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
