"""Storages that go away in the middle of trials: real servers, real worker processes, nothing lost, nothing twice."""

import fcntl
import re
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

from sweeps.errors import StorageAwayError
from sweeps.outcome import Outcome
from sweeps.patience import Patience
from sweeps.storage import open_storage
from sweeps.study import open_study
from sweeps.worker import run_trials
from tests.postgres import running_postgres
from tests.sweeps.joining import evaluations, results_of, wait_for
from tests.sweeps.relay import relayed

MANY = [{"beta": round(0.1 * (index + 1), 1)} for index in range(12)]


@pytest.fixture
def postgres():
    with running_postgres() as server:
        yield server


def check_whole(storage, results, tmp_path, *, points=MANY):
    """Every point has one result, was evaluated once, and nothing is left running."""
    assert results[0] == results[-1]
    assert [result["params"] for result in results[0]] == points
    assert {result["status"] for result in results[0]} == {"completed"}
    assert Counter(evaluations(tmp_path, "start")) == {point["beta"]: 1 for point in points}
    trials = optuna.load_study(study_name="s", storage=open_storage(storage)).trials
    assert not [trial for trial in trials if trial.state.name == "RUNNING"]
    counted = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert sorted(trial.params["beta"] for trial in counted) == [point["beta"] for point in points]


@pytest.mark.parametrize("mode", [pytest.param("fast", marks=pytest.mark.slow), "immediate"])
def test_no_trial_is_lost_or_done_twice_while_the_database_is_restarted(postgres, starts, tmp_path, mode):
    workers = [starts(postgres.url, points=MANY, seconds=0.4) for _ in range(3)]
    for count in (2, 5, 8):
        wait_for(lambda count=count: len(evaluations(tmp_path, "end")) >= count)
        postgres.restart(mode)
    check_whole(postgres.url, [results_of(worker) for worker in workers], tmp_path)


def test_an_outage_longer_than_the_lease_ends_no_living_workers_trial(postgres, starts, tmp_path):
    workers = [starts(postgres.url, points=MANY[:2], seconds=6.0, lease=2.0) for _ in range(2)]
    wait_for(lambda: len(evaluations(tmp_path, "start")) == 2)
    watcher = starts(postgres.url, points=MANY[:2], lease=2.0)
    time.sleep(1.0)
    postgres.stop("immediate")
    time.sleep(3.0)
    postgres.start()
    results = [results_of(worker) for worker in (*workers, watcher)]
    check_whole(postgres.url, results, tmp_path, points=MANY[:2])


def test_lost_answers_to_commits_make_no_second_claim_and_lose_no_result(postgres, starts, tmp_path):
    open_study("s", storage=postgres.url, sampler="grid", seed=7, points=MANY)
    with relayed(postgres.port, every=7) as relay:
        url = postgres.url.replace(str(postgres.port), str(relay.port))
        workers = [starts(url, points=MANY, seconds=0.05) for _ in range(2)]
        results = [results_of(worker) for worker in workers]
        assert relay.lost > 5
    check_whole(postgres.url, results, tmp_path)


def test_a_database_that_stays_away_is_told_and_finished_work_is_kept(postgres, starts, tmp_path):
    workers = [starts(postgres.url, points=MANY, seconds=0.3, patience=2.0) for _ in range(2)]
    wait_for(lambda: len(evaluations(tmp_path, "end")) >= 3)
    postgres.stop("immediate")
    for worker in workers:
        _, error = worker.communicate(timeout=60)
        assert worker.returncode == 1
        last = error.strip().splitlines()[-2:]
        assert re.match(
            r"sweeps.errors.StorageAwayError: storage postgresql\S+ has not answered for \d+ s: .+", last[0]
        )
        assert "the same command goes on" in last[1]
    postgres.start()
    done = set(evaluations(tmp_path, "end"))
    results = results_of(starts(postgres.url, points=MANY))
    assert [result["params"] for result in results] == MANY
    assert {result["status"] for result in results} == {"completed"}
    # Only what nobody had stored was evaluated again: at most the two trials that the outage met.
    again = [beta for beta, count in Counter(evaluations(tmp_path, "start")).items() if count > 1]
    assert len(again) <= 2
    assert len(done) >= 3


@pytest.mark.slow
def test_a_worker_that_is_paused_in_a_claim_holds_nobody_up_for_long(postgres):
    from sqlalchemy import text

    open_study("s", storage=postgres.url, sampler="grid", seed=7, points=MANY[:1])
    with open_storage(postgres.url).once._backend.engine.connect() as paused:
        paused.execute(text("SELECT * FROM studies FOR UPDATE"))
        study = open_study("s", storage=postgres.url, sampler="grid", seed=7, points=MANY[:1])
        started = time.monotonic()
        done = run_trials(study, evaluate=lambda p, n: Outcome("completed", p["beta"], "", None), points=MANY[:1])
        assert [result.status for result in done] == ["completed"]
        assert 20 < time.monotonic() - started < 60
        paused.invalidate()


def test_a_journal_whose_last_line_was_torn_is_read_and_written_on(tmp_path):
    points = MANY[:3]

    def work(storage):
        study = open_study("s", storage=storage, sampler="grid", seed=7, points=points)
        return run_trials(study, evaluate=lambda p, n: Outcome("completed", p["beta"], "", None), points=points)

    first = work(f"{tmp_path}/study.log")
    with Path(tmp_path / "study.log").open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"dead","trial_id":0,"user_at')
    assert work(f"{tmp_path}/study.log") == first
    study = open_study("s", storage=f"{tmp_path}/study.log", sampler="grid", seed=7, points=points)
    study.set_user_attr("more", 1)
    assert (
        open_study("s", storage=f"{tmp_path}/study.log", sampler="grid", seed=7, points=points).user_attrs["more"] == 1
    )


def test_whoever_is_told_to_stop_waits_for_no_storage(tmp_path):
    asked = []
    storage = open_storage(f"{tmp_path}/study.log", patience=Patience(seconds=60.0, should_stop=lambda: bool(asked)))
    study = open_study("s", storage=storage, sampler="grid", seed=7, points=MANY)
    (tmp_path / "study.log").rename(tmp_path / "moved.log")
    (tmp_path / "study.log").mkdir()
    asked.append(True)
    with pytest.raises(StorageAwayError, match="has not answered for 0 s"):
        study.set_user_attr("more", 1)


@pytest.mark.slow
def test_a_writer_that_is_stopped_with_the_journals_lock_holds_the_others_up_for_half_a_minute(tmp_path):
    terms = {"storage": f"{tmp_path}/study.log", "sampler": "grid", "seed": 7, "points": MANY}
    study = open_study("s", **terms)
    with Path(tmp_path / "study.log").open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        started = time.monotonic()
        study.set_user_attr("more", 1)
        assert 25 < time.monotonic() - started < 60
    assert open_study("s", **terms).user_attrs["more"] == 1
