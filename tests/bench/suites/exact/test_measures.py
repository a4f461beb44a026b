"""Exact measures: values by hand, identities, and optima that no other policy passes."""

import math

import numpy as np
import pytest
import torch

from bench.core.specs import EvaluationSpec, ProblemSpec
from bench.errors import UsageError
from bench.suites.exact.evaluate import evaluate_exact, policy_logps
from bench.suites.exact.measures import (
    entropy,
    expected_reward,
    frontier,
    frontier_curve,
    implicit_reward_error,
    kl,
    optimal_policy,
    win_rate,
)
from bench.suites.exact.problem import make_problem, sequence_logps
from bench.suites.exact.start_model import start_model
from bench.suites.exact.tokenizer import make_tokenizer
from tests.bench.suites.exact.conftest import small

HALVES = np.log([[0.5, 0.5]])


def policies(problem, count: int, *, scale: float = 1.0, seed: int = 0) -> list[np.ndarray]:
    """Log-probs of policies near and far from the start model."""
    random = np.random.default_rng(seed)
    shape = problem.start_logits.shape
    return [
        sequence_logps(problem.start_logits + scale * random.exponential() * random.standard_normal(shape))
        for _ in range(count)
    ]


def test_the_optimal_policy_of_two_completions_by_hand():
    # Rewards 0 and log 3 at β = 1 from (½, ½): weights 1 : 3. At β = ½: 1 : 9.
    reward = np.array([[0.0, math.log(3)]])
    np.testing.assert_allclose(np.exp(optimal_policy(HALVES, reward, beta=1.0)), [[0.25, 0.75]])
    np.testing.assert_allclose(np.exp(optimal_policy(HALVES, reward, beta=0.5)), [[0.1, 0.9]])
    np.testing.assert_allclose(np.exp(optimal_policy(HALVES, reward, beta=1e-300)), [[0.0, 1.0]])


def test_beta_zero_keeps_the_start_models_proportions_among_the_best_completions():
    log_ref, reward = np.log([[0.5, 0.3, 0.2]]), np.array([[0.0, 1.0, 1.0]])
    np.testing.assert_allclose(np.exp(optimal_policy(log_ref, reward, beta=0.0)), [[0.0, 0.6, 0.4]])


def test_kl_entropy_and_reward_by_hand():
    p = np.log([[0.25, 0.75], [0.5, 0.5]])
    q = np.log([[0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(kl(p, q), [0.25 * math.log(0.5) + 0.75 * math.log(1.5), 0.0])
    np.testing.assert_allclose(entropy(q), [math.log(2)] * 2)
    np.testing.assert_allclose(expected_reward(p, np.array([[0.0, 4.0], [0.0, 4.0]])), [3.0, 2.0])
    sure = np.array([[0.0, -np.inf]])
    np.testing.assert_allclose(kl(sure, HALVES), [math.log(2)])
    np.testing.assert_allclose(kl(HALVES, sure), [math.inf])
    np.testing.assert_allclose(entropy(sure), [0.0])


def test_win_rate_by_hand():
    # π = (0.2, 0.3, 0.5), π_ref = (0.5, 0.25, 0.25), rewards 1, 1, 2: ties half.
    # Reward 1 wins ½ · 0.75 of the time, reward 2: 0.75 + ½ · 0.25.
    rate = win_rate(np.log([[0.2, 0.3, 0.5]]), np.log([[0.5, 0.25, 0.25]]), np.array([[1.0, 1.0, 2.0]]))
    np.testing.assert_allclose(rate, [0.5 * 0.375 + 0.5 * 0.875])


def test_the_start_models_win_rate_over_itself_is_one_half():
    problem = small(reward="levels")
    np.testing.assert_allclose(win_rate(problem.log_ref, problem.log_ref, problem.reward), 0.5)


def test_regret_is_beta_times_the_kl_to_the_optimum():
    problem, beta = small(), 0.3
    optimum = optimal_policy(problem.log_ref, problem.reward, beta=beta)

    def target(log_p):
        return expected_reward(log_p, problem.reward) - beta * kl(log_p, problem.log_ref)

    for log_p in policies(problem, 50):
        np.testing.assert_allclose(target(optimum) - target(log_p), beta * kl(log_p, optimum), atol=1e-12)


def test_the_implicit_reward_of_the_optimum_is_the_reward_up_to_a_shift():
    problem = small()
    optimum = optimal_policy(problem.log_ref, problem.reward, beta=0.5)
    np.testing.assert_allclose(implicit_reward_error(optimum, problem.log_ref, problem.reward, beta=0.5), 0, atol=1e-12)
    # The start model's implicit reward is zero, so its error is the reward's standard deviation under π_ref.
    p = np.exp(problem.log_ref)
    mean = (p * problem.reward).sum(1, keepdims=True)
    expected = np.sqrt((p * (problem.reward - mean) ** 2).sum(1))
    found = implicit_reward_error(problem.log_ref, problem.log_ref, problem.reward, beta=0.5)
    np.testing.assert_allclose(found, expected)


def test_no_policy_lies_above_the_frontier():
    problem = small(contexts=3)
    many = policies(problem, 1000, scale=2.0)
    kls = [float(kl(log_p, problem.log_ref).mean()) for log_p in many]
    rewards = [float(expected_reward(log_p, problem.reward).mean()) for log_p in many]
    best = frontier(problem.log_ref, problem.reward, kls=kls)
    assert max(kls) > 3
    assert (np.array(rewards) <= best + 1e-9).all()


@pytest.mark.parametrize("beta", [0.05, 0.3, 1.0, 10.0, 300.0])
def test_the_optimum_of_a_beta_lies_on_the_frontier(beta):
    problem = make_problem(ProblemSpec())
    optimum = optimal_policy(problem.log_ref, problem.reward, beta=beta)
    found = frontier(problem.log_ref, problem.reward, kls=[float(kl(optimum, problem.log_ref).mean())])
    np.testing.assert_allclose(found, expected_reward(optimum, problem.reward).mean(), rtol=1e-6, atol=1e-8)


def test_the_frontier_begins_at_the_start_model_and_ends_at_the_best_completions():
    problem = small()
    start = expected_reward(problem.log_ref, problem.reward).mean()
    best = problem.reward.max(axis=1).mean()
    np.testing.assert_allclose(frontier(problem.log_ref, problem.reward, kls=[0.0, 1e-30, 1e3]), [start, start, best])
    curve = frontier_curve(problem.log_ref, problem.reward, points=30)
    np.testing.assert_allclose([curve.reward[0], curve.reward[-1]], [start, best])
    assert (np.diff(curve.reward) > 0).all()
    assert (np.diff(curve.reward, 2) < 1e-9).all()  # concave: its slope is β
    assert (np.diff(curve.beta[1:]) < 0).all()
    slopes = np.diff(curve.reward) / np.diff(curve.kl)
    assert (slopes <= curve.beta[:-1]).all()
    assert (slopes >= curve.beta[1:]).all()


def test_the_frontier_of_equal_rewards_is_flat():
    reward = np.full((1, 2), 0.7)
    np.testing.assert_allclose(frontier(HALVES, reward, kls=[0.0, 0.1, 5.0]), 0.7)


def test_a_negative_kl_is_refused():
    with pytest.raises(ValueError, match=r"≥ 0 \(got -0\.1\)"):
        frontier(HALVES, HALVES, kls=[0.0, -0.1])


def specification(**changes) -> EvaluationSpec:
    values = {"split": "validation", "prompts": 100, "tokens": 2, "seed": 0, "pairs": 10, "beta0": 0.2} | changes
    return EvaluationSpec(**values)


def evaluated(problem, table, *, reward="log_ratio", params=None, **changes):
    model = start_model(problem)
    with torch.no_grad():
        model.table.copy_(torch.as_tensor(table))
    tokenizer = make_tokenizer(symbols=problem.spec.symbols, contexts=problem.spec.contexts)
    given = {"beta": 0.5} if params is None else params
    spec = specification(**changes)
    found = evaluate_exact(model, problem, tokenizer=tokenizer, spec=spec, reward=reward, params=given)
    return found, {(each.task, each.name): each for each in found.metrics}


@pytest.mark.parametrize(("symbols", "length"), [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_the_model_is_read_without_error(symbols, length):
    problem = small(symbols=symbols, length=length)
    model = start_model(problem)
    np.testing.assert_array_equal(policy_logps(model, problem, contexts=[0, 1, 2, 3]), problem.log_ref)
    np.testing.assert_array_equal(policy_logps(model, problem, contexts=[3, 1]), problem.log_ref[[3, 1]])


def test_the_start_model_has_no_kl_no_gap_and_half_the_wins():
    problem = small()
    _, metrics = evaluated(problem, problem.start_logits)
    assert metrics["generation", "kl"].value == 0.0
    assert metrics["exact", "frontier_gap"].value == 0.0
    assert math.isclose(metrics["exact", "win_rate"].value, 0.5)


@pytest.mark.parametrize(("split", "contexts"), [("validation", [0, 2, 4]), ("test", [1, 3])])
def test_metrics_are_means_over_the_contexts_of_the_split(split, contexts):
    problem = small(contexts=5)
    random = np.random.default_rng(0)
    table = (problem.start_logits + random.standard_normal(problem.start_logits.shape)).astype(np.float32)
    found, metrics = evaluated(problem, table, split=split)
    log_p, log_ref, reward = sequence_logps(table)[contexts], problem.log_ref[contexts], problem.reward[contexts]
    gold, divergence = expected_reward(log_p, reward), kl(log_p, log_ref)
    optimum = optimal_policy(log_ref, reward, beta=0.2)
    best = expected_reward(optimum, reward) - 0.2 * kl(optimum, log_ref)
    expected = {
        ("generation", "gold_reward"): gold,
        ("generation", "kl"): divergence,
        ("generation", "target"): gold - 0.2 * divergence,
        ("generation", "length"): np.exp(log_p) @ problem.lengths,
        ("exact", "regret"): best - (gold - 0.2 * divergence),
        ("exact", "kl_to_optimum"): kl(log_p, optimum),
        ("exact", "entropy"): entropy(log_p),
        ("exact", "win_rate"): win_rate(log_p, log_ref, reward),
        ("exact", "best_mass"): np.exp(log_p[range(len(contexts)), reward.argmax(axis=-1)]),
        ("exact", "worst_mass"): np.exp(log_p[range(len(contexts)), reward.argmin(axis=-1)]),
        ("exact", "implicit_reward_error"): implicit_reward_error(log_p, log_ref, reward, beta=0.5),
    }
    assert set(metrics) == {*expected, ("exact", "optimal_reward"), ("exact", "frontier_gap")}
    for name, values in expected.items():
        assert metrics[name].n == len(contexts)
        np.testing.assert_allclose(metrics[name].value, values.mean(), rtol=1e-9)
        np.testing.assert_allclose(metrics[name].stderr, values.std(ddof=1) / math.sqrt(len(contexts)), rtol=1e-9)
    assert set(found.scores) == {"gold_reward", "kl", "target", "length"}
    np.testing.assert_allclose(found.scores["target"], gold - 0.2 * divergence)
    gap = metrics["exact", "frontier_gap"].value
    assert gap > 0
    np.testing.assert_allclose(metrics["exact", "optimal_reward"].value - gap, gold.mean())


def test_a_policy_at_the_optimum_has_no_regret_and_no_gap():
    # One token: the logits of the optimum are those of the start model plus r / β₀; completion 0 is the end token.
    problem = small(length=1)
    table = problem.start_logits + (problem.reward / 0.2)[:, None, :].astype(np.float32)
    _, metrics = evaluated(problem, table, params={"beta": 0.2})
    for name in ("regret", "kl_to_optimum", "frontier_gap", "implicit_reward_error"):
        assert abs(metrics["exact", name].value) < 1e-5, name


def test_rows_are_the_most_probable_completions_in_words_with_their_own_reward():
    problem = small()
    table = np.zeros_like(problem.start_logits)
    table[0, 0, 2] = table[0, 2, 1] = 5.0  # context 0 says «b a»
    table[2, 0, 0] = 5.0  # context 2 says nothing
    found, _ = evaluated(problem, table)
    first, second = found.rows
    assert (first.prompt, first.text, first.completion_ids, first.ended) == ("x1", "b a", (2, 1), False)
    assert (second.prompt, second.text, second.completion_ids, second.ended) == ("x3", "", (0,), True)
    assert first.gold == problem.reward[0, problem.completions.index((2, 1))]
    assert [row.kl for row in found.rows] == found.scores["kl"]


@pytest.mark.parametrize(("reward", "params"), [("mean_policy", {"beta": 2.0}), ("log_ratio", {"tau": 1.0})])
def test_an_objective_without_a_scaled_log_ratio_has_no_implicit_reward_error(reward, params):
    problem = small()
    _, metrics = evaluated(problem, problem.start_logits, reward=reward, params=params)
    assert ("exact", "implicit_reward_error") not in metrics


def test_without_a_price_on_kl_regret_is_the_missing_reward():
    problem = small()
    _, metrics = evaluated(problem, problem.start_logits, beta0=0.0)
    missing = problem.reward.max(axis=1) - expected_reward(problem.log_ref, problem.reward)
    np.testing.assert_allclose(metrics["exact", "regret"].value, missing[[0, 2]].mean())
    assert ("exact", "kl_to_optimum") not in metrics


def test_another_temperature_is_refused():
    problem = small()
    with pytest.raises(UsageError, match=r"evaluation\.temperature=0\.7"):
        evaluated(problem, problem.start_logits, temperature=0.7)
