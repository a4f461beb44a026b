"""A setting that fails costs nothing but itself, and is told; ranks work from the command line."""

import json
from pathlib import Path

import pytest

from tests.bench.cli.test_cli import SMALL, bench

BROKEN = '''
from losses import Pairs, Requires
from losses.objective import objective

@objective(params={}, batch=Pairs, requires=Requires.NOTHING, reward="policy", aggregation="sum", paper="none",
           equation="none", optimum="none", version=1)
def broken(pairs):
    """It never gives a number."""
    raise ValueError("nothing works")
'''


def test_a_failing_objective_is_told_with_exit_code_1_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN, encoding="utf-8")
    done = bench("run", "--loss", f"{tmp_path / 'broken.py'}:broken,sft", "--out", tmp_path / "results", *SMALL)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "1 of 2 settings failed; broken {}: failed: ValueError: nothing works" in done.stderr
    table = (tmp_path / "results" / "leaderboard.csv").read_text(encoding="utf-8")
    assert "sft" in table
    assert "broken" not in table


@pytest.mark.slow
def test_two_ranks_train_from_the_command_line(tmp_path: Path) -> None:
    done = bench("run", "--loss", "dpo", "--processes", "2", "--out", tmp_path, *SMALL, "--seeds", "0")
    assert done.returncode == 0, done.stderr
    (trained,) = tmp_path.glob("runs/*/train.json")
    assert json.loads(trained.read_text(encoding="utf-8"))["world_size"] == 2
