"""Importances find the parameter that matters, and follow their seed."""

import math
import subprocess
import sys

import numpy as np
import pytest

from bench.stats.importance import importances


def sweep(n=24):
    rng = np.random.default_rng(0)
    return [{"lr": 10 ** rng.uniform(-6, -4), "beta": 10 ** rng.uniform(-2, 0), "seed": 3.0} for _ in range(n)]


def test_the_parameter_that_moves_the_target_has_the_larger_share_and_one_that_was_not_varied_none():
    points = sweep()
    by_beta = importances(points, [math.log(p["beta"]) + 0.1 * math.log(p["lr"]) for p in points], seed=0)
    assert list(by_beta) == ["beta", "lr", "seed"]
    assert by_beta["beta"] > 0.8
    assert by_beta["seed"] == 0
    assert sum(by_beta.values()) == pytest.approx(1)
    assert importances(points, [p["lr"] for p in points], seed=0)["lr"] > 0.8


def optunas(points, targets, *, seed):
    from optuna import create_study, create_trial, logging
    from optuna.distributions import FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    logging.set_verbosity(logging.WARNING)
    box = {name: FloatDistribution(min(p[name] for p in points), max(p[name] for p in points)) for name in points[0]}
    study = create_study(direction="maximize")
    study.add_trials(
        create_trial(params=p, distributions=dict(box), value=value) for p, value in zip(points, targets, strict=True)
    )
    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed)))


@pytest.mark.parametrize(("trials", "names"), [(12, "beta lr"), (12, "lr beta"), (20, "a b c"), (60, "a b c d")])
def test_shares_are_those_of_optunas_fanova(trials, names):
    rng = np.random.default_rng(trials)
    names = names.split()
    # a grid on some axes, so that the forest meets ties, and draws on the others
    points = [{n: float(rng.choice([0.01, 0.1, 1.0, 10.0, rng.uniform()])) for n in names} for _ in range(trials)]
    targets = [math.log(p[names[0]]) * p[names[1]] + rng.normal() for p in points]
    assert importances(points, targets, seed=7) == pytest.approx(optunas(points, targets, seed=7), abs=1e-12)


def test_trees_of_one_value_have_no_share():
    """Where two trials are all that differ, many trees see one of them alone; Optuna divides rounding by rounding."""
    points = [{"beta": 10.0, "lr": lr} for lr in (1.0, 1.0, 0.01)] + [{"beta": 1.0, "lr": 10.0}]
    shares = importances(points, [0.1, 0.1 + 1e-17, 0.1, -3.0], seed=0)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in shares.values())


def test_equal_seeds_give_equal_shares():
    points = sweep()
    targets = [p["beta"] for p in points]
    assert importances(points, targets, seed=1) == importances(points, targets, seed=1)


def test_a_parameter_that_makes_trials_diverge_is_important():
    points = sweep()
    targets = [math.nan if p["lr"] > 2e-5 else 1 + 0.01 * p["beta"] - (p["lr"] > 1e-5) for p in points]
    assert sum(map(math.isnan, targets)) > 3
    assert importances(points, targets, seed=0)["lr"] > 0.6


def test_where_nothing_can_be_told_all_are_zero():
    points = sweep(4)
    assert set(importances(points, [1.0] * 4, seed=0).values()) == {0.0}
    assert set(importances(points, [math.nan] * 4, seed=0).values()) == {0.0}
    assert importances([], [], seed=0) == {}
    assert importances([{"beta": 0.1}, {"beta": 0.1}], [1.0, 2.0], seed=0) == {"beta": 0.0}


def test_the_only_parameter_that_was_varied_explains_all():
    assert importances([{"beta": 0.1, "lr": 1.0}, {"beta": 0.2, "lr": 1.0}], [1, 2], seed=0) == {"beta": 1, "lr": 0}


def test_points_of_other_parameters_and_missing_targets_are_refused():
    with pytest.raises(ValueError, match="same parameters"):
        importances([{"beta": 0.1}, {"lr": 0.1}], [1, 2], seed=0)
    with pytest.raises(ValueError, match="one of 1 targets"):
        importances([{"beta": 0.1}, {"beta": 0.2}], [1], seed=0)


def test_importances_say_nothing_on_the_terminal(capfd):
    points = sweep(6)
    importances(points, [p["beta"] for p in points], seed=0)
    assert capfd.readouterr() == ("", "")


def test_the_statistics_load_neither_torch_nor_optuna():
    modules = "budget crossed importance intervals moderated paired pairwise race verdicts ranks"
    code = f"import sys\nfor name in '{modules}'.split(): __import__('bench.stats.' + name)\n"
    code += "print([name for name in ('torch', 'optuna', 'scipy', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
