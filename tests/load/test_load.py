"""Many workers on one study, in small: every trial once, and no more work per trial in a large study."""

import pytest

from tests.load.counts import count
from tests.load.growth import grow
from tests.load.workers import run_workers
from tests.postgres import running_postgres

WORKERS, TRIALS = 8, 120


@pytest.fixture(params=["postgres", "journal"])
def storage(request, tmp_path):
    if request.param == "journal":
        yield f"{tmp_path}/study.log"
        return
    with running_postgres() as server:
        yield server.url


def test_eight_workers_lose_no_trial_and_do_none_twice(storage, tmp_path):
    trials, seconds = run_workers(storage, tmp_path, workers=WORKERS, trials=TRIALS, seconds=0.0)
    found = count(storage, trials, points=TRIALS)
    assert (found.lost, found.doubled, found.running) == (0, 0, 0)
    assert len({trial.worker for trial in trials}) > 1
    # A claim that meets another one is withdrawn; if workers all went for the same point, most would be.
    assert found.withdrawn < TRIALS
    assert seconds < 60


def test_a_trial_costs_no_more_in_a_study_of_a_thousand_than_three_times_that_of_a_hundred(tmp_path):
    small, large = grow(f"{tmp_path}/study.log", sizes=(100, 1000))
    assert large.median < 3 * small.median
