"""Checks of studies whose sampler chooses: budget, space, seeds, retries."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from sweeps.errors import StudyError
from sweeps.outcome import Outcome
from sweeps.study import open_study
from sweeps.worker import run_trials

SPREAD = {"beta": FloatDistribution(0.01, 10.0, log=True), "order": CategoricalDistribution((1.0, 2.0))}


@pytest.fixture(params=["sqlite", "journal"])
def storage(request, tmp_path):
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"{tmp_path}/study.log"


def completed(params, _number):
    return Outcome("completed", -abs(math.log10(params["beta"] / 0.1)), f"run-{params['beta']}", None)


def never(_params, _number):
    raise AssertionError("evaluated a point that has a result")


def statuses(results):
    return [result.status for result in results]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_sampled_study_spends_its_budget_once_within_the_space(storage, sampler):
    study = open_study("s", storage=storage, sampler=sampler, seed=3, distributions=SPREAD)
    first = run_trials(study, evaluate=completed, distributions=SPREAD, trials=9)
    assert len(first) == len(study.trials) == 9
    assert len({result.params["beta"] for result in first}) == 9
    assert all(0.01 <= result.params["beta"] <= 10 and result.params["order"] in (1.0, 2.0) for result in first)
    assert run_trials(study, evaluate=never, distributions=SPREAD, trials=9) == first


def test_two_seeds_sample_differently_and_one_seed_alike(tmp_path):
    def sample(name, seed):
        study = open_study(name, storage=f"{tmp_path}/s.log", sampler="tpe", seed=seed, distributions=SPREAD)
        return [result.params for result in run_trials(study, evaluate=completed, distributions=SPREAD, trials=8)]

    assert sample("a", 1) == sample("b", 1) != sample("c", 2)


def test_tpe_closes_in_on_the_best_value(tmp_path):
    spread = {"beta": SPREAD["beta"]}
    distances = []
    for seed in range(4):
        study = open_study(f"s{seed}", storage=f"{tmp_path}/s.log", sampler="tpe", seed=seed, distributions=spread)
        results = run_trials(study, evaluate=completed, distributions=spread, trials=20)
        distances.append(sum(-result.target for result in results[12:]) / 8)
    # A random value's mean |log10(beta / 0.1)| over 0.01 to 10 is (1/2 + 4/2) / 3 = 0.83.
    assert sum(distances) / 4 < 0.6


def test_a_sampled_trial_that_failed_is_retried_with_the_same_parameters(tmp_path):
    study = open_study("s", storage=f"{tmp_path}/s.log", sampler="random", seed=3, distributions=SPREAD)
    seen = []

    def evaluate(params, number):
        seen.append(params)
        if len(seen) == 2:
            raise OSError("disk is full")
        return completed(params, number)

    assert statuses(run_trials(study, evaluate=evaluate, distributions=SPREAD, trials=3)).count("failed") == 1
    assert statuses(run_trials(study, evaluate=evaluate, distributions=SPREAD, trials=3)) == ["completed"] * 3
    assert seen[3] == seen[1]
    assert len(seen) == 4


def test_a_sampled_study_must_name_its_sampler():
    study = optuna.create_study()
    with pytest.raises(StudyError, match="names no sampler"):
        run_trials(study, evaluate=completed, distributions=SPREAD, trials=2)
