"""Where no closed form is known or holds the reason is told, and impossible problems are refused."""

from dataclasses import replace

import numpy as np
import pytest

from bench.suites.exact.theory.optima import KNOWN, optimum, own_optimum
from bench.suites.exact.theory.population import Population
from losses import get, names
from tests.bench.suites.exact.theory.risk import random_problem


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_large_problem_has_a_normalised_closed_form_or_a_reason(name: str) -> None:
    problem = random_problem(8, completions=300, labels="bradley-terry", contexts=3)
    found = optimum(name, get(name).resolve({}), problem)
    if found.log_policy is None:
        assert found.holds != KNOWN[name].condition
    else:
        assert np.exp(found.log_policy).sum(-1) == pytest.approx(1, abs=1e-9)
        assert found.holds == KNOWN[name].condition


REASONS = {
    "the best gaps of three pairs do not fit together": ("dpo", {}, {"completions": 3}, "do not fit together"),
    "cdpo leaves Bradley-Terry labels": (
        "cdpo", {}, {"completions": 3, "labels": "bradley-terry"}, "do not fit together",
    ),
    "labels within the rate of flips": ("robust", {"epsilon": 0.45}, {"completions": 2}, "flips alone"),
    "a pair beyond the clip": ("chi_po", {"clip": 0.1}, {"completions": 2}, "within the clip"),
    "a bounded reward": ("alphapo", {"alpha": -2, "beta": 0.1}, {"completions": 2}, "wider than a policy"),
    "weak trust": ("dr_dpo", {"beta_prime": 1}, {"completions": 2}, "not above 1"),
    "long completions": ("unlikelihood", {}, {"completions": 4}, "more than one token"),
    "different lengths": ("rrhf", {}, {"completions": 2}, "different lengths"),
    "lengths that matter": ("ld_dpo", {}, {"completions": 2}, "different lengths"),
    "more than two": ("slic", {}, {"completions": 3}, "not two"),
    "imitation": ("cpo", {}, {"completions": 2}, "λ is not 0"),
    "focal": ("focal_po", {}, {"completions": 2}, "γ is not 0"),
    "an even reference without dispersion": ("mallows_dpo", {"scale": 0}, {"completions": 2, "tokens": "one"}, "φ = 0"),
    "a moving reference": ("ema_dpo", {}, {"completions": 2}, "follows the policy"),
    "no closed form at all": ("kto", {}, {"completions": 2}, "linear in σ"),
    "no objective": ("no_such", {}, {"completions": 2}, "no closed form is known for 'no_such'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REASONS.values(), ids=REASONS.keys())
def test_where_there_is_no_closed_form_the_reason_is_told(case: tuple[str, dict, dict, str]) -> None:
    name, given, problem, reason = case
    params = get(name).resolve(given) if name in names() else given
    population = random_problem(9, **problem)
    assert own_optimum(name, params, population) is None
    assert reason in optimum(name, params, population).holds


def with_preference(share: float) -> Population:
    preference = np.array([[[0.5, share], [1 - share, 0.5]]])
    return replace(random_problem(11, completions=2, contexts=1), preference=preference)


@pytest.mark.parametrize("name", ["dpo", "cauchy_dpo", "simpo", "hinge", "slic"])
def test_certain_labels_have_no_finite_gap(name: str) -> None:
    assert "certain" in optimum(name, get(name).resolve({}), with_preference(1.0)).holds


def test_certain_labels_leave_ipo_a_finite_gap() -> None:
    found = own_optimum("ipo_sum", {"beta": 0.5}, with_preference(1.0))
    assert found is not None
    ratio = found - with_preference(1.0).log_ref
    assert ratio[0, 0] - ratio[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("name", ["hinge", "rso", "repo"])
def test_a_tie_has_no_single_best_gap_under_a_hinge(name: str) -> None:
    assert "tie" in optimum(name, get(name).resolve({}), with_preference(0.5)).holds


def test_a_completion_that_never_wins_has_no_finite_log_prob_under_sft() -> None:
    assert "never wins" in optimum("sft", {}, with_preference(0.0)).holds


def test_a_free_minimum_below_one_is_told_and_not_solved() -> None:
    # Nearly all of π_ref is on the loser, whose log-ratio would fall.
    problem = replace(with_preference(0.9), log_ref=np.log([[0.01, 0.99]]))
    assert "not convex" in optimum("sppo_hard", {"beta": 1}, problem).holds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_ref": np.zeros((1, 2))}, "do not sum to 1"),
        ({"preference": np.full((1, 2, 2), 0.6)}, "shares of labels"),
        ({"lengths": np.array([0, 1])}, "1 or more"),
        ({"reward": np.zeros((2, 2))}, "asks for reward"),
    ],
    ids=["log_ref", "preference", "lengths", "reward"],
)
def test_an_impossible_population_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(with_preference(0.7), **change)
