"""Each closed form is where our own loss, minimised over all policies by an optimiser that knows no formula, ends."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp

from bench.suites.exact.theory.no_closed_form import UNKNOWN
from bench.suites.exact.theory.optima import KNOWN, optimum, own_optimum
from bench.suites.exact.theory.population import Population
from bench.suites.exact.theory.table import optima_markdown
from losses import Completion, Ranked, get, names
from tests.bench.suites.exact.theory.cases import ELSEWHERE, KINKED, SMOOTH, Case, cases, problems
from tests.bench.suites.exact.theory.risk import divergence, minimised, random_problem, risk, slope

SEEDS = (0, 1, 2)
DOCUMENT = Path(__file__).parents[5] / "docs" / "optima.md"


def test_every_objective_has_a_closed_form_or_a_reason() -> None:
    assert set(KNOWN) | set(UNKNOWN) == set(names())
    assert not set(KNOWN) & set(UNKNOWN)


def test_the_committed_document_is_what_the_entries_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == optima_markdown(), (
        "run: python -m bench.suites.exact.theory.table > docs/optima.md"
    )


def test_closed_forms_need_neither_torch_nor_losses() -> None:
    loaded = (
        "import sys, bench.suites.exact.theory.optima; "
        "print({'torch', 'losses'} & {name.split('.')[0] for name in sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True).strip() == "set()"


def test_every_closed_form_is_minimised_here() -> None:
    assert set(SMOOTH) | set(KINKED) | ELSEWHERE == set(KNOWN)


@pytest.mark.parametrize(("name", "case"), cases(SMOOTH))
def test_an_optimiser_that_knows_no_formula_ends_at_the_closed_form(name: str, case: Case) -> None:
    params = get(name).resolve(case.params)
    seen = get(name).loss_params(params)
    held = 0
    for problem in problems(case, seed=0):
        closed = own_optimum(name, params, problem)
        if closed is None:
            assert "free minimum" in optimum(name, params, problem).holds
            continue
        held += 1
        assert divergence(minimised(name, seen, problem), closed) < 1e-6
    assert held


@pytest.mark.parametrize(("name", "case"), cases(SMOOTH))
def test_the_gradient_of_the_risk_is_zero_at_the_closed_form(name: str, case: Case) -> None:
    params = get(name).resolve(case.params)
    seen = get(name).loss_params(params)
    for seed in SEEDS[1:]:
        for problem in problems(case, seed=seed):
            closed = own_optimum(name, params, problem)
            if closed is not None:
                assert np.exp(closed).sum(-1) == pytest.approx(1, abs=1e-9)
                assert slope(name, seen, problem, closed).abs().max() < 1e-9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "case"), cases(KINKED))
def test_a_search_over_both_completions_ends_at_a_closed_form_with_a_kink(name: str, case: Case, seed: int) -> None:
    for problem in problems(case, seed=seed):
        closed = own_optimum(name, case.params, problem)
        assert closed is not None
        for index in range(len(closed)):
            alone = problem.context(index)

            def at(gap: float, alone: Population = alone) -> float:
                log_policy = torch.tensor([[gap, 0.0]], dtype=torch.float64).log_softmax(-1)
                return float(risk(name, case.params, alone, log_policy))

            found = minimize_scalar(at, bounds=(-40, 40), method="bounded", options={"xatol": 1e-9})
            gap = closed[index, 0] - closed[index, 1]
            assert found.x == pytest.approx(gap, abs=1e-5)
            assert at(gap) <= found.fun + 1e-12


@pytest.mark.parametrize("name", ["exo_pair", "cauchy_dpo", "alphapo", "chi_po", "dpo_js", "asft"])
def test_no_policy_drawn_at_random_has_less_risk_where_the_risk_is_not_convex(name: str) -> None:
    case = SMOOTH[name][0]
    draw = np.random.default_rng(0)
    for problem in problems(case, seed=3):
        closed = own_optimum(name, case.params, problem)
        assert closed is not None
        least = risk(name, case.params, problem, torch.as_tensor(closed))
        for width in np.geomspace(0.1, 20, 30):
            drawn = torch.as_tensor(draw.normal(scale=width, size=closed.shape)).log_softmax(-1)
            assert risk(name, case.params, problem, drawn) > least


@pytest.mark.parametrize("name", sorted(set(SMOOTH) | set(KINKED)))
def test_the_reference_does_not_move_where_a_closed_form_against_it_is_claimed(name: str) -> None:
    for case in (SMOOTH | KINKED)[name]:
        assert get(name).reference_schedule(case.params).is_frozen


def test_infonca_ends_at_its_closed_form_also_on_rankings_of_all_completions() -> None:
    problem = random_problem(12, completions=5, contexts=3)
    params = {"beta": 0.5, "alpha": 2}
    closed = own_optimum("infonca", params, problem)
    assert closed is not None
    logits = torch.tensor(closed, requires_grad=True)
    rows = Completion(
        policy_logps=logits.log_softmax(-1).view(-1, 1),
        reference_logps=torch.as_tensor(problem.log_ref).view(-1, 1),
        mask=torch.ones(15, 1, dtype=torch.bool),
    )
    losses = get("infonca")(Ranked(rows, torch.as_tensor(problem.reward)), **params)
    assert torch.autograd.grad(losses.sum(), logits)[0].abs().max() < 1e-12


@pytest.mark.parametrize(("beta_prime", "beta"), [(2, 1), (5, 0.5)])
def test_dr_dpo_ends_at_a_weaker_dpo_in_a_batch_that_holds_the_population(beta_prime: float, beta: float) -> None:
    # P = 1/3, 1/5, 1/3: of 15 labels a pair each share is a whole number
    reward = np.log([[1.0, 2.0, 4.0]])
    problem = random_problem(3, completions=3, contexts=1)
    problem = replace(problem, reward=reward, preference=expit(reward[:, :, None] - reward[:, None, :]))
    params = {"beta": beta, "beta_prime": beta_prime}
    closed = own_optimum("dr_dpo", params, problem)
    assert closed is not None
    assert divergence(minimised("dr_dpo", params, problem, copies=15), closed) < 1e-6


def test_stages_of_sdpo_each_trained_to_its_end_reach_its_closed_form() -> None:
    problem = random_problem(4, completions=3, labels="bradley-terry")
    stage = problem
    for _ in range(3):
        stage = replace(stage, log_ref=minimised("sdpo", {"beta": 2}, stage))
    closed = own_optimum("sdpo", {"beta": 2, "stages": 3}, problem)
    assert closed is not None
    assert divergence(stage.log_ref, closed) < 1e-6


def test_at_the_rate_of_the_flips_robust_ends_where_dpo_ends_on_clean_labels() -> None:
    clean = random_problem(5, completions=4, labels="bradley-terry")
    flipped = random_problem(5, completions=4, labels="bradley-terry", flips=0.2)
    found = own_optimum("robust", {"beta": 0.1, "epsilon": 0.2}, flipped)
    assert found == pytest.approx(own_optimum("dpo", {"beta": 0.1}, clean), abs=1e-9)


def test_with_bradley_terry_labels_dpo_ends_at_the_optimum_of_the_regularised_reward() -> None:
    problem = random_problem(6, completions=5, labels="bradley-terry")
    tilted = problem.log_ref + problem.reward / 0.3
    expected = tilted - logsumexp(tilted, axis=-1, keepdims=True)
    assert own_optimum("dpo", {"beta": 0.3}, problem) == pytest.approx(expected, abs=1e-9)


def test_rewards_far_apart_cost_no_digits() -> None:
    problem = random_problem(7, completions=4)
    reward = np.array([[0.0, 30.0, 45.0, -20.0], [5.0, 0.0, 60.0, 2.0]])
    problem = replace(problem, reward=reward, preference=expit(reward[:, :, None] - reward[:, None, :]))
    tilted = problem.log_ref + reward
    expected = tilted - logsumexp(tilted, axis=-1, keepdims=True)
    assert own_optimum("dpo", {"beta": 1}, problem) == pytest.approx(expected, abs=1e-9)
