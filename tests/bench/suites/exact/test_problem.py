"""The enumerated problem: its completions and probabilities, and what each dial changes."""

import itertools
import math

import numpy as np
import pytest

from bench.core.specs import ProblemSpec
from bench.errors import UsageError
from bench.models.table_model import node_count
from bench.suites.exact.problem import LEVELS, make_problem, preference_table, sequence_logps
from tests.bench.suites.exact.conftest import small

ARRAYS = ("start_logits", "log_ref", "reward", "label_reward")


def changed(one, other) -> set[str]:
    return {name for name in ARRAYS if not np.array_equal(getattr(one, name), getattr(other, name))}


def test_one_symbol_and_one_token_make_two_completions():
    assert small(symbols=1, length=1).completions == ((0,), (1,))


def test_two_symbols_and_two_tokens_make_seven_completions():
    # A completion of two symbols needs no end token; a shorter one has it, and it counts.
    problem = small()
    assert problem.completions == ((0,), (1, 0), (2, 0), (1, 1), (1, 2), (2, 1), (2, 2))
    assert problem.lengths.tolist() == [1, 2, 2, 2, 2, 2, 2]
    assert problem.start_logits.shape[1] == 3


@pytest.mark.parametrize(("symbols", "length"), [(1, 1), (1, 4), (2, 3), (3, 2), (4, 4)])
def test_the_start_models_probabilities_sum_to_one_over_distinct_completions(symbols, length):
    problem = small(symbols=symbols, length=length, start_scale=3.0)
    assert len(set(problem.completions)) == len(problem.completions) == node_count(symbols, length + 1)
    assert max(map(len, problem.completions)) == length
    np.testing.assert_allclose(np.exp(problem.log_ref).sum(axis=1), 1.0, rtol=1e-12)


def test_a_completions_log_prob_is_the_sum_over_its_tokens():
    # By hand: token by token, with the prefix looked up by name instead of by heap number.
    problem = small(symbols=3, length=3)
    prefixes = [ids for depth in range(3) for ids in itertools.product((1, 2, 3), repeat=depth)]
    for context, completion in itertools.product(range(4), range(len(problem.completions))):
        ids, total = problem.completions[completion], 0.0
        for place, token in enumerate(ids):
            logits = problem.start_logits[context, prefixes.index(ids[:place])].astype(float)
            total += logits[token] - math.log(sum(math.exp(each) for each in logits))
        assert math.isclose(total, problem.log_ref[context, completion], rel_tol=1e-12)


def test_log_probs_of_extreme_logits_stay_numbers():
    logits = np.array([[[0.0, 2000.0], [-2000.0, 0.0]]])
    np.testing.assert_allclose(sequence_logps(logits), [[-2000.0, -2000.0, 0.0]])


def test_equal_dials_give_equal_bits():
    spec = ProblemSpec(proxy_noise=0.5)
    assert changed(make_problem(spec), make_problem(spec)) == set()
    assert changed(make_problem(spec), make_problem(spec.model_copy(update={"seed": 1}))) == set(ARRAYS)


@pytest.mark.parametrize(
    ("dial", "value", "changes"),
    [
        ("reward_scale", 2.0, {"reward", "label_reward"}),
        ("reward", "levels", {"reward", "label_reward"}),
        ("start_scale", 2.0, {"start_logits", "log_ref"}),
        ("proxy_noise", 0.5, {"label_reward"}),
        ("length_bias", 0.1, {"label_reward"}),
        ("temperature", 0.5, set()),
        ("flips", 0.1, set()),
        ("tilt", -1.0, set()),
        ("pairs", 10, set()),
        ("labels", "deterministic", set()),
    ],
)
def test_a_dial_changes_nothing_but_what_it_is_about(dial, value, changes):
    assert changed(small(), small(**{dial: value})) == changes


@pytest.mark.parametrize("reward", ["normal", "levels"])
def test_more_contexts_leave_the_first_ones_as_they_were(reward):
    few, many = small(reward=reward, proxy_noise=1.0), small(reward=reward, proxy_noise=1.0, contexts=9)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:4])


def test_label_reward_is_the_reward_with_proxy_noise_and_a_bonus_for_each_token():
    exact, biased = small(proxy_noise=0.0), small(length_bias=0.25)
    np.testing.assert_array_equal(exact.label_reward, exact.reward)
    np.testing.assert_allclose(biased.label_reward - biased.reward, [[0.25] + 6 * [0.5]] * 4)
    problem = make_problem(ProblemSpec(proxy_noise=0.5))
    assert math.isclose((problem.label_reward - problem.reward).std(), 0.5, rel_tol=0.05)


@pytest.mark.parametrize(("symbols", "length", "held"), [(2, 1, 3), (1, 1, 2), (2, 2, 3)])
def test_levels_give_every_context_all_three_rewards_as_far_as_it_has_completions(symbols, length, held):
    problem = small(symbols=symbols, length=length, reward="levels", contexts=40)
    assert set(problem.reward.ravel()) == set(LEVELS)
    assert [len(set(row)) for row in problem.reward] == [held] * 40


def test_even_contexts_select_and_odd_ones_report():
    problem = small(contexts=5)
    assert problem.contexts("validation") == (0, 2, 4)
    assert problem.contexts("test") == (1, 3)
    assert problem.contexts("train") == (0, 1, 2, 3, 4)
    with pytest.raises(UsageError, match="unknown split 'tests'"):
        problem.contexts("tests")


def test_a_problem_that_cannot_be_enumerated_is_refused():
    with pytest.raises(UsageError, match="16 contexts with 19,173,961 completions each are too many"):
        make_problem(ProblemSpec(symbols=8, length=8))


def test_preferences_between_levels_are_the_rational_ones():
    problem = small(reward="levels")
    for context, i, j in itertools.product(range(4), range(7), range(7)):
        one, two = np.exp(problem.reward[context, [i, j]])
        assert math.isclose(preference_table(problem)[context, i, j], one / (one + two), rel_tol=1e-12)


def test_flips_pull_preferences_to_one_half_and_temperature_flattens_them():
    plain, flipped, warm = (preference_table(small(**dials)) for dials in ({}, {"flips": 0.1}, {"temperature": 2.0}))
    np.testing.assert_allclose(flipped, 0.1 + 0.8 * plain)
    odds = plain / (1 - plain)
    np.testing.assert_allclose(warm / (1 - warm), np.sqrt(odds))
    np.testing.assert_allclose(plain + plain.transpose(0, 2, 1), 1.0)


def test_deterministic_preferences_are_one_zero_or_a_half():
    problem = small(reward="levels", labels="deterministic")
    expected = 0.5 + 0.5 * np.sign(problem.reward[:, :, None] - problem.reward[:, None, :])
    np.testing.assert_array_equal(preference_table(problem), expected)
    assert set(expected.ravel()) == {0.0, 0.5, 1.0}


def test_a_table_of_preferences_is_refused_where_it_would_be_large():
    with pytest.raises(UsageError, match="between 341 completions is too large: at most 64"):
        preference_table(make_problem(ProblemSpec()))
