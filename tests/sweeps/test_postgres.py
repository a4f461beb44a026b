"""Studies on a real PostgreSQL."""

import os
from collections.abc import Iterator

import pytest

from sweeps.outcome import Outcome
from sweeps.storage import open_storage
from sweeps.study import open_study
from sweeps.worker import run_trials
from tests.postgres import Postgres, running_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def test_a_grid_is_worked_off_and_found_again_after_the_server_was_restarted(postgres):
    points = [{"beta": beta} for beta in (0.01, 0.1, 1.0)]
    tried = []

    def evaluate(params, number):
        tried.append(params["beta"])
        return Outcome("completed", -params["beta"], f"run-{number}", None)

    def results():
        study = open_study("s", storage=postgres.url, sampler="grid", seed=0, points=points)
        return run_trials(study, evaluate=evaluate, points=points)

    first = results()
    postgres.restart("immediate")
    assert results() == first
    assert tried == [0.01, 0.1, 1.0]
    assert os.getuid() != 0 or postgres.folder.owner() == "postgres"


def test_a_url_without_a_driver_takes_the_one_that_is_installed(postgres):
    opened = open_storage(postgres.url.replace("+psycopg2", ""))
    assert opened.get_all_studies() is not None


def test_a_process_keeps_one_connection_for_all_its_studies(postgres):
    storage = open_storage(postgres.url)
    for name in ("a", "b", "c"):
        open_study(name, storage=storage, sampler="grid", seed=0, points=[{"beta": 1.0}])
    pool = storage.once._backend.engine.pool
    assert (pool.checkedin(), pool.checkedout()) == (1, 0)
