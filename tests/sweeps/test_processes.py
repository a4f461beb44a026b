"""Checks with real processes on real storages: joining, kill -9, Ctrl-C."""

import os
import signal
import socket
import time
from collections import Counter

import pytest
from optuna.distributions import FloatDistribution

from sweeps.outcome import Outcome
from sweeps.study import open_study
from sweeps.worker import run_trials
from tests.sweeps.joining import POINTS, evaluations, results_of, wait_for

JOURNAL_ONLY = pytest.mark.parametrize("storage", ["journal"], indirect=True)


@pytest.fixture(params=["sqlite", "journal"])
def storage(request, tmp_path):
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"{tmp_path}/study.log"


def never(_params, _number):
    raise AssertionError("evaluated a point that has a result")


def test_workers_that_start_at_once_share_the_points_and_run_none_twice(join, tmp_path):
    go = tmp_path / "go"
    workers = [join(go=str(go)) for _ in range(3)]
    time.sleep(1.0)
    go.touch()
    results = [results_of(worker) for worker in workers]
    assert results[0] == results[1] == results[2]
    assert [result["params"] for result in results[0]] == POINTS
    assert {result["status"] for result in results[0]} == {"completed"}
    assert Counter(evaluations(tmp_path, "start")) == {point["beta"]: 1 for point in POINTS}
    assert len({result["worker"] for result in results[0]}) > 1


@JOURNAL_ONLY
def test_workers_that_sample_share_one_budget_and_the_values_do_not_depend_on_who_is_there(join, tmp_path):
    go = tmp_path / "go"
    workers = [join(points=None, trials=7, sampler="random", go=str(go)) for _ in range(2)]
    time.sleep(0.8)
    go.touch()
    shared = [results_of(worker) for worker in workers]
    assert shared[0] == shared[1]
    assert len(shared[0]) == len(evaluations(tmp_path, "start")) == 7
    assert len({result["params"]["beta"] for result in shared[0]}) == 7

    other = f"{tmp_path}/alone.log"
    alone = _sample_alone(other, trials=7)
    assert [result.params for result in alone] == [result["params"] for result in shared[0]]


def _sample_alone(storage, *, trials):
    spread = {"beta": FloatDistribution(0.01, 10.0, log=True)}
    study = open_study("s", storage=storage, sampler="random", seed=7, distributions=spread)
    return run_trials(
        study,
        evaluate=lambda params, _number: Outcome("completed", -params["beta"], "", None),
        distributions=spread,
        trials=trials,
    )


def test_a_killed_worker_costs_one_evaluation_and_the_next_one_runs_exactly_what_is_missing(join, tmp_path, storage):
    worker = join(seconds=0.05, crash=0.4)
    worker.wait(timeout=60)
    assert worker.returncode == -signal.SIGKILL
    assert evaluations(tmp_path, "end") == [0.1, 0.2, 0.3]

    results = results_of(join())
    assert [result["params"] for result in results] == POINTS
    assert {result["status"] for result in results} == {"completed"}
    starts = Counter(evaluations(tmp_path, "start"))
    assert starts == {**{point["beta"]: 1 for point in POINTS}, 0.4: 2}

    study = open_study("s", storage=storage, sampler="grid", seed=7, points=POINTS)
    assert [result.params for result in run_trials(study, evaluate=never, points=POINTS)] == POINTS


def test_a_waiting_worker_takes_over_from_one_that_is_killed(join, tmp_path):
    killed = join(points=POINTS[:2], seconds=60.0)
    wait_for(lambda: evaluations(tmp_path, "start") == [0.1])
    waiting = join(points=POINTS[:2])
    wait_for(lambda: evaluations(tmp_path, "end") == [0.2])
    assert waiting.poll() is None
    killed.kill()
    killed.wait()
    results = results_of(waiting)
    assert [result["status"] for result in results] == ["completed", "completed"]
    assert evaluations(tmp_path, "end") == [0.2, 0.1]


@JOURNAL_ONLY
def test_a_stopped_worker_loses_its_trial_when_the_lease_ends_and_overwrites_nothing(join, tmp_path, storage):
    silent = join(points=POINTS[:1], seconds=8.0, lease=1.0)
    wait_for(lambda: evaluations(tmp_path, "start") == [0.1])
    silent.send_signal(signal.SIGSTOP)
    try:
        results = results_of(join(points=POINTS[:1], lease=1.0))
    finally:
        silent.send_signal(signal.SIGCONT)
    assert results[0]["status"] == "completed"
    assert evaluations(tmp_path, "start") == [0.1, 0.1]
    # Awake again, it finds that its trial was taken away, and has the other one's result.
    assert results_of(silent) == results
    study = open_study("s", storage=storage, sampler="grid", seed=7, points=POINTS[:1])
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert "outcome" not in study.trials[0].user_attrs


@JOURNAL_ONLY
def test_a_living_worker_keeps_a_trial_that_lasts_longer_than_the_lease(join, tmp_path):
    long = join(points=POINTS[:1], seconds=1.5, lease=0.5)
    wait_for(lambda: evaluations(tmp_path, "start") == [0.1])
    other = join(points=POINTS[:1], lease=0.5)
    assert results_of(long) == results_of(other)
    assert evaluations(tmp_path, "start") == [0.1]


@JOURNAL_ONLY
def test_ctrl_c_puts_the_point_back_at_once(join, tmp_path, storage):
    worker = join(seconds=60.0)
    wait_for(lambda: evaluations(tmp_path, "start") == [0.1])
    worker.send_signal(signal.SIGINT)
    _, error = worker.communicate(timeout=30)
    assert "KeyboardInterrupt" in error
    study = open_study("s", storage=storage, sampler="grid", seed=7, points=POINTS)
    assert [trial.state.name for trial in study.trials] == ["FAIL"]
    assert study.trials[0].user_attrs["outcome"]["status"] == "interrupted"
    results = results_of(join())
    assert len(results) == len(POINTS)
    assert evaluations(tmp_path, "end") == [point["beta"] for point in POINTS]


@JOURNAL_ONLY
def test_a_point_that_kills_its_workers_fails_after_the_second(join, tmp_path):
    survivor_points = POINTS[:2]
    # The survivor's first point keeps it busy while two others die at the second.
    survivor = join(points=survivor_points, hold=0.1)
    wait_for(lambda: evaluations(tmp_path, "start") == [0.1])
    for _ in range(2):
        assert join(points=survivor_points, crash=0.2).wait(timeout=60) == -signal.SIGKILL
    (tmp_path / "evaluations.release").touch()
    results = results_of(survivor)
    assert [result["status"] for result in results] == ["completed", "failed"]
    assert "died twice" in results[1]["error"]
    assert Counter(evaluations(tmp_path, "start")) == {0.1: 1, 0.2: 2}
    # A new call gives the point another chance.
    assert [result["status"] for result in results_of(join(points=survivor_points))] == ["completed", "completed"]


@JOURNAL_ONLY
def test_the_worker_is_named_by_host_and_process(join):
    worker = join(points=POINTS[:1])
    (result,) = results_of(worker)
    host, pid, _start = result["worker"].rsplit(":", 2)
    assert host.startswith(socket.gethostname())
    assert int(pid) == worker.pid != os.getpid()
