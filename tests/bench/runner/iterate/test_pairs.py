"""Pairs out of labels: who is chosen, what makes none, and that everything is counted."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.runner.iterate.pairs import chances, pairs_by_comparison, pairs_by_score
from bench.runner.iterate.request import IterateRequest

SCORES = st.lists(st.none() | st.integers(-3, 3).map(float) | st.floats(-5, 5), min_size=2, max_size=8)


@given(SCORES)
def test_best_and_worst_are_the_extremes_and_equal_scores_make_no_pair(scores):
    found = pairs_by_score(scores, which="best-worst")
    known = [score for score in scores if score is not None]
    assert len(found.pairs) + found.ties + found.unjudged == 1
    assert (found.unjudged == 1) == (len(known) < 2)
    assert (found.ties == 1) == (len(known) > 1 and len(set(known)) == 1)
    for pair in found.pairs:
        assert (pair.chosen_score, pair.rejected_score) == (max(known), min(known))
        assert (scores[pair.chosen], scores[pair.rejected]) == (max(known), min(known))


@given(SCORES)
def test_all_pairs_are_every_two_of_unlike_scores(scores):
    found = pairs_by_score(scores, which="all")
    assert len(found.pairs) + found.ties + found.unjudged == len(scores) * (len(scores) - 1) // 2
    assert all(scores[pair.chosen] > scores[pair.rejected] for pair in found.pairs)
    assert {frozenset((pair.chosen, pair.rejected)) for pair in found.pairs} == {
        frozenset((one, other))
        for one, other in itertools.combinations(range(len(scores)), 2)
        if None not in (scores[one], scores[other]) and scores[one] != scores[other]
    }


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6, unique=True), st.sampled_from(["best-worst", "all"]))
def test_comparisons_that_follow_scores_make_the_pairs_of_the_scores(scores, which):
    compared = {
        (one, other): float(scores[one] > scores[other]) for one, other in itertools.combinations(range(len(scores)), 2)
    }
    by_score = pairs_by_score(scores, which=which).pairs
    by_verdict = pairs_by_comparison(compared, len(scores), which=which).pairs
    assert {(p.chosen, p.rejected) for p in by_score} == {(p.chosen, p.rejected) for p in by_verdict}
    assert all(pair.chosen_score > pair.rejected_score for pair in by_verdict)


def test_ties_and_absent_verdicts_of_comparisons_make_no_pair_and_are_counted():
    compared = {(0, 1): 0.5, (0, 2): None, (1, 2): 0.25}
    found = pairs_by_comparison(compared, 3, which="all")
    assert [(p.chosen, p.rejected, p.chosen_score) for p in found.pairs] == [(2, 1, 0.75)]
    assert (found.ties, found.unjudged) == (1, 1)
    assert chances(compared, 3) == [0.5, 0.375, 0.75]
    assert chances({(0, 1): None}, 2) == [None, None]


def test_an_unknown_way_to_make_pairs_is_refused_with_a_hint():
    with pytest.raises(UsageError, match="unknown 'best_worst'") as refused:
        IterateRequest.model_validate({"pairs": "best_worst"})
    assert "best-worst" in str(refused.value.fix)
