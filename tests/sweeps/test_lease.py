"""Owns the checks of the heartbeat and of when a lease is over."""

import time

import optuna
import pytest

from sweeps.lease import BEAT, WORKER, heartbeat, is_stale, worker_id


def test_the_heartbeat_beats_while_the_body_runs_and_stops_with_it(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    study.ask()
    with heartbeat(study._storage, study.trials[0]._trial_id, lease_seconds=0.2):
        time.sleep(0.3)
    stopped = study.trials[0].user_attrs[BEAT]
    assert time.time() - stopped < 0.3
    time.sleep(0.15)
    assert study.trials[0].user_attrs[BEAT] == stopped


@pytest.mark.parametrize(
    ("change", "age", "stale"),
    [
        (lambda worker: worker, 0.0, False),
        (lambda worker: worker, 9.9, False),
        (lambda worker: worker, 10.1, True),
        (lambda worker: worker.rsplit(":", 1)[0] + ":1", 0.0, True),
        (lambda worker: f"other-{worker.rsplit(':', 1)[0]}:1", 0.0, False),
        (lambda worker: f"other-{worker}", 10.1, True),
    ],
    ids=["living", "quiet", "silent", "another process with its number", "another host", "another host, silent"],
)
def test_a_lease_ends_with_its_process_or_with_its_heartbeat(change, age, stale):
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, user_attrs={WORKER: change(worker_id()), BEAT: 1000.0}
    )
    assert is_stale(trial, now=1000.0 + age, lease_seconds=10.0) is stale
