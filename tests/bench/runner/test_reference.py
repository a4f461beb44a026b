"""The reference stage of a real sweep: what the plan counts is what is scored, once, and a longer run adds to it."""

import json
from pathlib import Path

import pytest

from bench.core.request import RunRequest
from bench.runner.estimate.amounts import Amounts
from bench.runner.estimate.outline import outline_of
from bench.runner.plan import make_plan
from tests.bench.real_sweeps import finish, started

OPTIONS = ("--suite", "exact", "--loss", "dpo", "--sweep", "beta=0.1,0.3", "--seeds", "1")
SETTINGS = ("problem.pairs=4096", "train.batch=16")


def scored(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """By stream, the spans of blocks of the training data."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for path in sorted((folder / "reference").glob("*-*/about.json")):
        about = json.loads(path.read_text())
        spans.setdefault(path.parent.name.partition("-")[0], []).append((about["first"], about["last"]))
    return spans


def test_a_sweep_scores_what_its_seeds_draw_and_a_longer_one_adds_to_it(tmp_path):
    def command(steps: int) -> str:
        settings = [f"--set={each}" for each in (*SETTINGS, f"steps={steps}")]
        return finish(started("run", *OPTIONS, *settings, "--workers", "2", out=tmp_path))

    first = command(4)
    assert "reference log-probs: 256 of 8,192 completions (drawn by seeds 0, 1000)" in first
    assert sorted(scored(tmp_path).values()) == [[(0, 2)]] * 2
    request = RunRequest.from_options(
        {"loss": "dpo", "suite": "exact", "sweep": "beta=0.1,0.3", "seeds": 1, "out": tmp_path / "plan",
         "workers": "1", "resume": True, "tracker": (), "set": (*SETTINGS, "steps=4")}
    )  # fmt: skip
    work = Amounts(outline_of(make_plan(request))).reference
    assert (work.drawn, work.all) == (2 * 128, 8192)
    assert work.tokens == pytest.approx(4, rel=0.3)
    assert "reference log-probs: 256 of 8,192" in command(8)  # those that the first command lacks
    assert sorted(scored(tmp_path).values()) == [[(0, 2), (2, 4)]] * 2
