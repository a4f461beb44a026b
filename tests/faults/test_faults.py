"""The fault campaign in short: the whole one is ``python -m tests.faults``."""

import random
from pathlib import Path

import pytest

from tests.faults.campaign import Case, Server, Whole, survive, undisturbed
from tests.postgres import running_postgres


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return undisturbed(tmp_path_factory.mktemp("whole") / "results", processes=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_sweep_whose_two_workers_are_killed_gives_the_undisturbed_leaderboard(tmp_path, expected, seed):
    case = Case(storage="journal", workers=2, processes=1, kills=3)
    told = survive(case, tmp_path / "case", expected=expected, server=None, chance=random.Random(seed))
    assert told.wrong == []
    assert told.killed.total() >= 3


def test_so_does_one_whose_workers_are_killed_and_whose_database_crashes(tmp_path: Path, expected):
    case = Case(storage="postgres", workers=2, processes=1, kills=2, restarts=1)
    with running_postgres() as postgres:
        server = Server(url=postgres.url, restart=lambda: postgres.restart("immediate"))
        told = survive(case, tmp_path / "case", expected=expected, server=server, chance=random.Random(2))
    assert told.wrong == []
    assert told.restarts == 1
