"""Known results of the literature, in small: what the paper says is what the records say."""

from dataclasses import replace

import pytest
from rich.console import Console

from bench.core.results import load_records
from bench.report.figures.reproduced import DRAWINGS, write_reproduced
from bench.runner.reproduce import RESULTS, Command, reproduce


def by_setting(results, name):
    """(objective, β, steps) → the metric, on the contexts that select."""
    return {
        (r.spec.objective, r.spec.params["beta"], r.spec.train.steps): r.metric(name).value
        for r in load_records(results)
        if r.spec.objective != "start" and r.evaluation.split == "validation"
    }


def test_every_known_result_has_a_figure():
    assert set(DRAWINGS) == set(RESULTS)


@pytest.mark.slow
def test_dpo_forgets_its_beta_where_preferences_never_contradict_and_ipo_does_not(tmp_path, quiet):
    whole = RESULTS["ipo-bandit"]
    settings = tuple(text for text in whole.commands[0].settings if not text.startswith(("steps", "train.learning")))
    commands = tuple(
        Command(losses=("dpo", "ipo_sum"), sweep="beta=0.3,1.0", settings=(*settings, "lr=0.1", f"steps={steps}"))
        for steps in (100, 800)
    )
    reproduce(replace(whole, commands=commands), tmp_path, Console(quiet=True))
    worst = by_setting(tmp_path, "worst_mass")
    for beta in (0.3, 1.0):
        # DPO goes on and on, IPO has stopped
        assert worst["dpo", beta, 800] < 0.2 * worst["dpo", beta, 100]
        assert worst["ipo_sum", beta, 800] == pytest.approx(worst["ipo_sum", beta, 100], rel=0.3)
    # IPO's place is its β's (closed form: e^(-1/3β) / Σ = 0.230 and 0.075), up to the noise of drawn pairs and batches
    assert worst["ipo_sum", 1.0, 800] == pytest.approx(0.230, rel=0.1)
    assert worst["ipo_sum", 0.3, 800] == pytest.approx(0.075, rel=0.3)
    paths = write_reproduced("ipo-bandit", tmp_path, formats=("png",))
    assert [path.name for path in paths] == ["ipo-bandit.csv", "ipo-bandit.png"]
    assert len((tmp_path / "ipo-bandit.csv").read_text().splitlines()) == 1 + 8


def test_robust_dpo_at_the_known_rate_ends_where_dpo_would_on_clean_labels(tmp_path, quiet):
    whole = RESULTS["flips"]
    reproduce(replace(whole, commands=(whole.commands[1],)), tmp_path, Console(quiet=True))
    far = {name: value for (name, _, _), value in by_setting(tmp_path, "kl_to_optimum").items()}
    assert far["robust"] < 1e-6
    # from the closed forms: KL between the policies of P and of 0.9 P + 0.1 (1 - P)
    assert far["dpo"] == pytest.approx(0.00735, rel=0.01)
    assert far["cdpo"] == pytest.approx(0.0232, rel=0.01)


def test_kto_with_few_desirable_examples_needs_balanced_weights(tmp_path, quiet):
    whole = RESULTS["imbalance"]
    reproduce(replace(whole, commands=whole.commands[:2]), tmp_path, Console(quiet=True))
    records = [r for r in load_records(tmp_path) if r.spec.objective == "kto"]
    found = {r.spec.params["desirable_weight"]: r.metric("target").value for r in records}
    assert set(found) == {1.0, 9.0}
    assert found[9.0] > found[1.0] + 0.3


def test_with_labels_from_a_heavy_tailed_proxy_the_true_reward_rises_with_kl_and_then_falls():
    """The same of the optimum itself, π ∝ π_ref · exp(proxy / β): training is not what makes the hump."""
    from bench.core.specs import ProblemSpec
    from bench.suites.exact.measures import expected_reward, kl, optimal_policy
    from bench.suites.exact.problem import make_problem

    problem = make_problem(ProblemSpec(contexts=24, start_scale=0.5, proxy_noise=1.0, proxy_tail=3))
    betas = (5.0, 2.0, 1.0, 0.5, 0.2, 0.05)
    policies = [optimal_policy(problem.log_ref, problem.label_reward, beta=beta) for beta in betas]
    far = [kl(policy, problem.log_ref).mean() for policy in policies]
    proxy = [expected_reward(policy, problem.label_reward).mean() for policy in policies]
    true = [expected_reward(policy, problem.reward).mean() for policy in policies]
    assert far == sorted(far)
    assert proxy == sorted(proxy)
    peak = true.index(max(true))
    assert 0 < peak < len(betas) - 1
    assert true[peak] > true[-1] + 0.05
