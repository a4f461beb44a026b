"""Checks of the heartbeat and of when a lease is over."""

import time

import optuna
import pytest

from sweeps.claims import WORKER
from sweeps.heartbeat import BEAT, beat_seconds, heartbeat, is_stale, worker_id


def test_the_heartbeat_beats_while_the_body_runs_and_stops_with_it(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    study.ask()
    with heartbeat(study._storage, study.trials[0]._trial_id, lease_seconds=0.2):
        time.sleep(0.3)
    stopped = study.trials[0].user_attrs[BEAT]
    assert time.time() - stopped < 0.3
    time.sleep(0.15)
    assert study.trials[0].user_attrs[BEAT] == stopped


def running(worker, beat=1000.0, number=0):
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, user_attrs={WORKER: worker, BEAT: beat, "token": "t"}
    )
    trial.number = number
    return trial


def looks(trial, *, ages, every):
    """What each of several looks says, ``every`` seconds apart, at a heartbeat of these ages."""
    watches = {}
    return [
        is_stale(trial, watches, now=1000.0 + age, moment=50.0 + every * count, lease_seconds=10.0)
        for count, age in enumerate(ages)
    ]


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
    found = looks(running(change(worker_id())), ages=[age] * 4, every=beat_seconds(10.0))
    assert found[-1] is stale


def test_a_silent_worker_has_a_few_beats_more_to_show_itself():
    assert looks(running("other:1:1"), ages=[20.0] * 5, every=2.0) == [False, False, False, True, True]


def test_a_look_after_a_long_pause_counts_for_one_beat_only():
    # As when the storage was away between the looks: nobody could beat then.
    assert looks(running("other:1:1"), ages=[20.0, 500.0, 502.0, 504.0], every=500.0) == [False, False, False, True]


def test_a_beat_ends_the_watch_and_clocks_that_disagree_end_no_lease():
    watches = {}
    for count in range(20):
        trial = running("other:1:1", beat=1000.0 + 2 * count)
        assert not is_stale(trial, watches, now=5000.0 + 2 * count, moment=2.0 * count, lease_seconds=10.0)
