"""Preference data: labels have the frequencies that the dials say, populations the exact proportions."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from bench.errors import UsageError
from bench.suites.exact.labels import draw_pairs, encode_problem, unpaired
from bench.suites.exact.population_pairs import population_pairs
from bench.suites.exact.problem import preference_table
from tests.bench.suites.exact.conftest import small

MANY = 40_000


def indices(problem, pairs) -> np.ndarray:
    """Context, chosen and rejected of each pair ``[pairs, 3]``, read back from token ids."""
    names = {ids: place for place, ids in enumerate(problem.completions)}
    first = problem.prompt(0)[0]
    return np.array([(p.prompt_ids[0] - first, names[p.chosen_ids], names[p.rejected_ids]) for p in pairs])


def within(observed, expected, n, sigmas=5.0):
    """Whether shares of ``n`` draws are what is expected, as far as chance allows."""
    return np.abs(observed - expected) <= sigmas * np.sqrt(np.maximum(expected * (1 - expected), 1e-6) / n) + 1 / n


@pytest.mark.parametrize(
    "dials",
    [{}, {"temperature": 0.3}, {"flips": 0.2}, {"labels": "deterministic", "flips": 0.1}, {"reward": "levels"},
     {"labels": "deterministic", "reward": "levels"}, {"length_bias": 1.0, "proxy_noise": 1.0}, {"tilt": -2.0}],
    ids=str,
)  # fmt: skip
def test_labels_have_the_frequencies_of_the_preferences(dials):
    problem = small(symbols=2, length=1, contexts=2, **dials)
    found = indices(problem, draw_pairs(problem, pairs=MANY, stream=0))
    wins = np.zeros((2, 3, 3))
    np.add.at(wins, tuple(found.T), 1)
    total = wins + wins.transpose(0, 2, 1)
    off = ~np.eye(3, dtype=bool)
    assert within(wins[:, off] / total[:, off], preference_table(problem)[:, off], total[:, off]).all()


@pytest.mark.parametrize("tilt", [0.0, 1.5, -1.5])
def test_completions_come_from_the_tilted_start_model_and_differ(tilt):
    problem = small(contexts=2, tilt=tilt)
    found = indices(problem, draw_pairs(problem, pairs=MANY, stream=0))
    assert within(np.bincount(found[:, 0]) / MANY, np.array([0.5, 0.5]), MANY).all()
    p = np.exp(problem.log_ref + tilt * problem.reward)
    for context in range(2):
        expected = np.outer(p[context], p[context])
        np.fill_diagonal(expected, 0.0)
        counts = np.zeros((7, 7))
        np.add.at(counts, tuple(found[found[:, 0] == context, 1:].T), 1)
        observed = (counts + counts.T) / counts.sum() / 2
        assert within(observed, expected / expected.sum(), counts.sum()).all()


def test_pairs_of_a_start_model_that_nearly_always_says_one_thing_still_differ():
    # Off the peak the rarer completions keep their proportions: 1 − p would be all rounding here.
    problem = small(contexts=2, tilt=60.0, start_scale=0.0)
    found = indices(problem, draw_pairs(problem, pairs=2000, stream=0))
    assert (found[:, 1] != found[:, 2]).all()
    for context in range(2):
        best = np.argsort(problem.reward[context])[::-1][:2]
        assert Counter(map(frozenset, found[found[:, 0] == context, 1:].tolist())).most_common(1)[0][0] == set(best)


def test_a_tilt_that_leaves_one_completion_is_refused():
    problem = small(tilt=1e6)
    with pytest.raises(UsageError, match=r"context 0: tilt 1000000.0 leaves one completion only"):
        draw_pairs(problem, pairs=100, stream=0)


def test_annotators_scores_are_the_utilities_that_made_the_label():
    # The gap of a chosen pair is a logistic variable, given that it is positive: its mean at equal rewards is log 4.
    problem = small(reward_scale=1e-9, temperature=0.5)
    gaps = np.array([p.chosen_score - p.rejected_score for p in draw_pairs(problem, pairs=MANY, stream=0)])
    assert (gaps > 0).all()
    assert math.isclose(gaps.mean(), 0.5 * math.log(4), rel_tol=0.03)


def test_a_flip_swaps_the_scores_too_so_that_the_gap_stays_positive():
    straight, flipped = (draw_pairs(small(flips=flips), pairs=1000, stream=0) for flips in (0.0, 0.3))
    turned = 0
    for one, other in zip(straight, flipped, strict=True):
        assert (one.chosen_score, one.rejected_score) == (other.chosen_score, other.rejected_score)
        turned += one.chosen_ids != other.chosen_ids
        assert {one.chosen_ids, one.rejected_ids} == {other.chosen_ids, other.rejected_ids}
    assert within(turned / 1000, 0.3, 1000)


def test_reward_scores_are_those_of_each_completion():
    problem = small(scores="reward", proxy_noise=1.0)
    pairs = draw_pairs(problem, pairs=200, stream=0)
    for (context, chosen, rejected), pair in zip(indices(problem, pairs), pairs, strict=True):
        assert pair.chosen_score == problem.reward[context, chosen]
        assert pair.rejected_score == problem.reward[context, rejected]
    assert any(pair.chosen_score < pair.rejected_score for pair in pairs)


def test_ties_are_the_closest_pairs_and_their_label_is_a_coin():
    problem = small(labels="deterministic", ties=0.4)
    found = indices(problem, draw_pairs(problem, pairs=MANY, stream=0))
    gap = problem.label_reward[found[:, 0], found[:, 1]] - problem.label_reward[found[:, 0], found[:, 2]]
    border = np.sort(np.abs(gap))[round(0.4 * MANY)]
    assert (gap[np.abs(gap) > border] > 0).all()
    close = gap[np.abs(gap) < border]
    assert within((close < 0).mean(), 0.5, len(close))


@pytest.mark.parametrize(
    ("dials", "same"),
    [({"temperature": 2.0}, "pairs"), ({"flips": 0.2}, "pairs"), ({"labels": "deterministic"}, "pairs"),
     ({"proxy_noise": 1.0}, "pairs"), ({"ties": 0.5}, "pairs"), ({"tilt": 1.0}, "contexts")],
    ids=str,
)  # fmt: skip
def test_one_dial_of_the_labels_leaves_the_drawn_pairs_as_they_were(dials, same):
    plain, other = (indices(p, draw_pairs(p, pairs=500, stream=0)) for p in (small(), small(**dials)))
    assert not np.array_equal(plain, other)
    np.testing.assert_array_equal(plain[:, 0], other[:, 0])
    if same == "pairs":
        np.testing.assert_array_equal(np.sort(plain[:, 1:]), np.sort(other[:, 1:]))


def test_more_pairs_only_add_to_those_there_were_and_another_stream_is_independent():
    problem = small()
    few, many, other = (draw_pairs(problem, pairs=n, stream=s) for n, s in ((300, 0), (900, 0), (300, 1)))
    assert many[:300] == few
    equal = np.mean([one == two for one, two in zip(few, other, strict=True)])
    assert equal == 0


def test_a_population_has_every_pair_in_exact_proportion():
    problem = small(reward="levels", labels="population", flips=0.1)
    counts = Counter(map(tuple, indices(problem, population_pairs(problem)).tolist()))
    copies = {counts[c, i, j] + counts[c, j, i] for c in range(4) for i in range(7) for j in range(7) if i != j}
    assert len(copies) == 1
    weights = np.rint(np.exp(problem.reward)).astype(int)
    for (context, i, j), count in counts.items():
        one, two = map(int, weights[context, [i, j]])
        exact = Fraction(9, 10) * Fraction(one, one + two) + Fraction(1, 10) * Fraction(two, one + two)
        assert Fraction(count, *copies) == exact
        assert math.isclose(exact, preference_table(problem)[context, i, j], rel_tol=1e-12)


def test_a_populations_number_of_copies_is_the_smallest():
    # Rewards log 1, log 2, log 4 without equals: P is 2/3 or 4/5, so 15 copies do, of 3 pairs in 2 contexts.
    problem = small(symbols=2, length=1, contexts=2, reward="levels", labels="population")
    assert len(population_pairs(problem)) == 15 * 3 * 2


@pytest.mark.parametrize(
    ("dials", "said"),
    [({"reward": "normal"}, "reward=normal"), ({"temperature": 0.5}, "temperature=0.5"),
     ({"proxy_noise": 0.1}, "proxy_noise=0.1"), ({"length_bias": 0.1}, "length_bias=0.1"), ({"ties": 0.1}, "ties=0.1"),
     ({"tilt": 1.0}, "tilt=1.0"), ({"flips": 0.1234567}, "give flips=0.125"),
     ({"symbols": 4, "length": 4}, "231,880 pairs, 1 for each"),
     ({"symbols": 3, "length": 3, "contexts": 16}, "374,400 pairs, 30 for each")],
    ids=str,
)  # fmt: skip
def test_a_population_that_cannot_be_exact_is_refused(dials, said):
    problem = small(**({"reward": "levels", "labels": "population"} | dials))
    with pytest.raises(UsageError, match=said):
        population_pairs(problem)


def test_unpaired_rows_take_one_side_of_each_pair():
    problem = small(desirable=0.3)
    pairs = draw_pairs(problem, pairs=4000, stream=0)
    rows = unpaired(problem, pairs, stream=0)
    for pair, row in zip(pairs, rows, strict=True):
        assert row.completion_ids == (pair.chosen_ids if row.desirable else pair.rejected_ids)
        assert row.prompt_ids == pair.prompt_ids
    assert within(np.mean([row.desirable for row in rows]), 0.3, 4000)


def test_unpaired_rows_of_a_problem_of_pairs_are_refused():
    with pytest.raises(UsageError, match="the problem's rows are pairs"):
        unpaired(small(), [], stream=0)


@pytest.mark.parametrize(
    ("dials", "kind", "rows"),
    [({"pairs": 100}, "pairs", 100), ({"pairs": 100, "desirable": 0.5}, "unpaired", 100),
     ({"labels": "population", "reward": "levels"}, "pairs", 4 * 21 * 30)],
    ids=str,
)  # fmt: skip
def test_held_out_rows_are_512_pairs_of_the_splits_contexts_whatever_is_trained_on(dials, kind, rows):
    problem = small(**dials)
    parts = {split: encode_problem(problem, split) for split in ("train", "validation", "test")}
    assert parts["train"].kind == kind
    assert len(parts["train"].rows) == rows
    assert {row.prompt_ids for row in parts["train"].rows} == {problem.prompt(c) for c in range(4)}
    for split, contexts in (("validation", (0, 2)), ("test", (1, 3))):
        assert len(parts[split].pairs) == 512
        assert {row.prompt_ids for row in parts[split].rows} == {problem.prompt(c) for c in contexts}
    assert len({part.content_hash for part in parts.values()}) == 3


def test_encoded_rows_are_the_drawn_pairs_with_their_gap():
    problem = small(pairs=50)
    encoded = encode_problem(problem, "train")
    for row, pair in zip(encoded.pairs, draw_pairs(problem, pairs=50, stream=0), strict=True):
        assert (row.prompt_ids, row.chosen_ids, row.rejected_ids) == (
            pair.prompt_ids,
            pair.chosen_ids,
            pair.rejected_ids,
        )
        assert row.score_gap == pair.chosen_score - pair.rejected_score
        assert problem.prompt(row.group) == row.prompt_ids
    assert (encoded.eos_id, encoded.pad_id) == (0, 0)
    assert encode_problem(problem, "train").content_hash == encoded.content_hash
