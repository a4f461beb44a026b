"""Pruners on claims: scores are stored with the running trial, and Optuna's pruner of the protocol decides."""

import optuna
import pytest

from sweeps.outcome import Outcome
from sweeps.protocol import TuningProtocol
from sweeps.pruning import build_pruner, report_rung, rungs_of
from sweeps.study import open_study
from sweeps.worker import run_trials

POINTS = tuple({"beta": float(value)} for value in (3, 4, 1, 2, 5))


def protocol(pruner: str, steps: int = 64) -> TuningProtocol:
    return TuningProtocol(
        preset="custom", terms="t", axes=("beta",), trials=len(POINTS), sampler="grid", seeds=(0,), final_seeds=(),
        target="target", direction="maximize", steps=steps, pairs=None, pruner=pruner,
        rungs=rungs_of(pruner, steps=steps),
    )  # fmt: skip


def statuses(storage: str, pruner: str) -> list[str]:
    """Trials whose score at every rung is their β."""
    terms = protocol(pruner)
    study = open_study("s", storage=storage, sampler="grid", seed=0, points=POINTS, protocol=terms)

    def evaluate(params, number):
        for step in terms.rungs:
            if report_rung(study, number, step=step, score=params["beta"]):
                return Outcome("pruned", None, f"{step}", None)
        return Outcome("completed", params["beta"], "", None)

    found = run_trials(study, evaluate=evaluate, points=POINTS)
    assert [trial.state.name for trial in study.trials] == [
        {"completed": "COMPLETE", "pruned": "PRUNED"}[result.status] for result in found
    ]
    return [f"{result.status} {result.run_key}".strip() for result in found]


@pytest.fixture(params=["sqlite", "journal"])
def storage(request, tmp_path):
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"{tmp_path}/study.log"


def test_the_median_pruner_lets_two_trials_end_and_then_ends_what_is_below_the_middle(storage):
    # Completed 3 and 4: median 3.5 ends 1 and 2 at the first rung; 5 is above.
    assert statuses(storage, "median") == ["completed", "completed", "pruned 16", "pruned 16", "completed"]


def test_halving_lets_only_the_upper_half_of_each_rung_pass(storage):
    # 3: alone at both rungs. 4: the best of two. 1 and 2: never in the upper half. 5: the best.
    assert statuses(storage, "halving") == ["completed", "completed", "pruned 16", "pruned 16", "completed"]


def test_without_a_pruner_nothing_is_ended_and_there_are_no_rungs(storage):
    assert rungs_of("none", steps=64) == ()
    assert statuses(storage, "none") == ["completed"] * 5


@pytest.mark.parametrize(("steps", "rungs"), [(64, (16, 32)), (5, (1, 2)), (3, (1,)), (2, (1,)), (1, ())])
def test_rungs_are_a_quarter_and_a_half_of_the_steps(steps, rungs):
    assert rungs_of("median", steps=steps) == rungs


def test_a_score_of_a_trial_that_was_taken_away_ends_nothing(storage):
    terms = protocol("median")
    study = open_study("s", storage=storage, sampler="grid", seed=0, points=POINTS, protocol=terms)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    assert report_rung(study, 0, step=16, score=-1.0) is False


def test_a_study_without_protocol_prunes_nothing():
    assert isinstance(build_pruner(None), optuna.pruners.NopPruner)
