"""Checks of one worker: what becomes of each outcome, of a resume, of an interrupt, of the budget."""

import math
import threading
import time

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from sweeps.claims import SLOT, WORKER
from sweeps.errors import SweepError
from sweeps.heartbeat import BEAT, worker_id
from sweeps.outcome import Outcome
from sweeps.study import open_study
from sweeps.worker import run_trials

POINTS = tuple({"beta": beta} for beta in (0.01, 0.1, 1.0, 10.0))
SPREAD = {"beta": FloatDistribution(0.01, 10.0, log=True), "order": CategoricalDistribution((1.0, 2.0))}


@pytest.fixture(params=["sqlite", "journal"])
def storage(request, tmp_path):
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"{tmp_path}/study.log"


@pytest.fixture
def study(storage):
    return open_study("s", storage=storage, sampler="grid", seed=1, points=POINTS)


def completed(params, _number):
    return Outcome("completed", -abs(math.log10(params["beta"] / 0.1)), f"run-{params['beta']}", None)


def never(_params, _number):
    raise AssertionError("evaluated a point that has a result")


def statuses(results):
    return [result.status for result in results]


def test_a_finished_study_evaluates_nothing_and_gives_its_results_back(study, storage):
    first = run_trials(study, evaluate=completed, points=POINTS)
    assert [result.params for result in first] == list(POINTS)
    assert [result.run_key for result in first] == ["run-0.01", "run-0.1", "run-1.0", "run-10.0"]
    again = open_study("s", storage=storage, sampler="grid", seed=1, points=POINTS)
    assert run_trials(again, evaluate=never, points=POINTS) == first
    assert len(again.trials) == 4


def test_the_study_is_one_that_optuna_reads(study):
    run_trials(study, evaluate=completed, points=POINTS)
    assert study.best_params == {"beta": 0.1}
    assert study.best_value == 0.0


def test_a_diverged_trial_stays_and_a_pruned_one_too(study):
    def evaluate(params, number):
        if params["beta"] == 0.01:
            return Outcome("diverged", math.nan, "run-d", "loss is nan at step 7")
        return Outcome("pruned", -3.0, "run-p", None) if params["beta"] == 1.0 else completed(params, number)

    first = run_trials(study, evaluate=evaluate, points=POINTS)
    assert statuses(first) == ["diverged", "completed", "pruned", "completed"]
    assert (first[0].target, first[0].error) == (None, "loss is nan at step 7")
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "PRUNED", "COMPLETE"]
    assert run_trials(study, evaluate=never, points=POINTS) == first


def test_a_failed_point_does_not_stop_the_sweep_and_is_retried_by_the_next_call_alone(study):
    seen = []

    def evaluate(params, number):
        seen.append(params["beta"])
        if params["beta"] == 0.1:
            raise OSError("disk is full")
        return completed(params, number)

    first = run_trials(study, evaluate=evaluate, points=POINTS)
    assert statuses(first) == ["completed", "failed", "completed", "completed"]
    assert first[1].error.startswith("OSError: disk is full\n")
    assert "in evaluate" in first[1].error
    assert seen == [0.01, 0.1, 1.0, 10.0]
    assert statuses(run_trials(study, evaluate=evaluate, points=POINTS)) == statuses(first)
    assert seen == [0.01, 0.1, 1.0, 10.0, 0.1]
    assert statuses(run_trials(study, evaluate=completed, points=POINTS)) == ["completed"] * 4


def test_a_returned_failure_and_a_wrong_return_are_failures(study):
    def evaluate(params, _number):
        return Outcome("failed", None, "run", "gate did not hold") if params["beta"] < 1 else {"target": 1.0}

    results = run_trials(study, evaluate=evaluate, points=POINTS)
    assert statuses(results) == ["failed"] * 4
    assert results[0].error == "gate did not hold"
    assert results[3].error.startswith("TypeError: evaluate returned dict, not an Outcome")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_up_and_puts_the_point_back(study, interrupt):
    def evaluate(params, number):
        if params["beta"] == 0.1:
            raise interrupt
        return completed(params, number)

    with pytest.raises(interrupt):
        run_trials(study, evaluate=evaluate, points=POINTS)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
    seen = []
    results = run_trials(study, evaluate=lambda *given: seen.append(given[0]) or completed(*given), points=POINTS)
    assert seen == [*POINTS[1:]]
    assert statuses(results) == ["completed"] * 4


def test_an_interrupt_that_is_not_caught_leaves_the_trial_to_its_lease(study):
    def evaluate(_params, _number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(study, evaluate=evaluate, points=POINTS[:1], catch_interrupt=False)
    assert study.trials[0].state.name == "RUNNING"
    assert run_trials(study, evaluate=never, points=POINTS[:1], wait=False) == []
    time.sleep(0.25)
    assert statuses(run_trials(study, evaluate=completed, points=POINTS[:1], lease_seconds=0.2)) == ["completed"]


def test_events_tell_the_order_and_the_progress(study):
    events = []
    run_trials(study, evaluate=completed, points=POINTS[:2], on_event=events.append)
    assert [(event.kind, event.params["beta"], event.settled, event.total) for event in events] == [
        ("started", 0.01, 0, 2),
        ("finished", 0.01, 1, 2),
        ("started", 0.1, 1, 2),
        ("finished", 0.1, 2, 2),
    ]
    assert events[1].result.target == pytest.approx(-1.0)
    assert events[0].result is None


def test_a_trial_whose_outcome_was_stored_before_its_worker_died_counts(study):
    outcome = {"status": "completed", "target": 0.5, "run_key": "run", "error": None}
    host, pid, _start = worker_id().rsplit(":", 2)
    attributes = {SLOT: '{"beta": 0.01}', WORKER: f"{host}:{pid}:1", BEAT: time.time(), "outcome": outcome}
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=POINTS[0],
            distributions={"beta": FloatDistribution(0.01, 10.0)},
            user_attrs={**attributes, "token": "t"},
        )
    )
    (result,) = run_trials(study, evaluate=never, points=POINTS[:1])
    assert (result.status, result.target) == ("completed", 0.5)
    assert study.trials[0].state.name == "COMPLETE"


def test_a_result_that_comes_after_the_lease_was_taken_away_is_not_counted(study):
    events = []

    def evaluate(params, number):
        if number == 0:
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        return completed(params, number)

    results = run_trials(study, evaluate=evaluate, points=POINTS[:1], on_event=events.append)
    assert [event.kind for event in events] == ["started", "lost", "started", "finished"]
    assert [(result.number, result.status) for result in results] == [(1, "completed")]


def test_trials_of_others_in_the_same_study_are_left_alone(study):
    study.enqueue_trial({"beta": 5.0})
    study.ask()
    study.enqueue_trial({"beta": 6.0})
    assert statuses(run_trials(study, evaluate=completed, points=POINTS)) == ["completed"] * 4
    assert [trial.state.name for trial in study.trials[:2]] == ["RUNNING", "WAITING"]


def test_threads_on_one_study_never_share_a_point(storage):
    points = tuple({"beta": float(index + 1)} for index in range(12))
    seen, gate = [], threading.Barrier(4, timeout=30)

    def work():
        study = open_study("s", storage=storage, sampler="grid", seed=1, points=points)
        gate.wait()
        run_trials(study, evaluate=lambda *given: seen.append(given[0]["beta"]) or completed(*given), points=points)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [point["beta"] for point in points]


def test_points_given_twice_are_one_point(study):
    results = run_trials(study, evaluate=completed, points=(POINTS[0], POINTS[1], POINTS[0]))
    assert [result.params for result in results] == [POINTS[0], POINTS[1]]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"points": POINTS, "distributions": SPREAD, "trials": 4},
        {"points": POINTS, "trials": 3},
        {"distributions": SPREAD},
        {"distributions": SPREAD, "trials": 0},
        {"points": POINTS, "lease_seconds": 0.0},
    ],
)
def test_a_request_that_fixes_no_budget_is_refused(given):
    study = optuna.create_study()
    with pytest.raises(SweepError):
        run_trials(study, evaluate=never, **given)
    assert study.trials == []
