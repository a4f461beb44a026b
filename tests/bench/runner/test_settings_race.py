"""The race of an objective's settings on validation prompts, through real trainings."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.record import START
from bench.core.request import RunRequest
from bench.core.results import load_records
from bench.errors import UsageError
from bench.report.analysis.settings import group_records
from bench.runner.compare import compare
from bench.runner.plan import make_plan
from bench.utils.progress import Progress

SETTINGS = ("steps=16", "lr=0.8", "problem.pairs=256", "problem.contexts=32", "problem.length=2")


def race(out: Path, **changes: object) -> list[str]:
    """Race in this process; returns the lines that a user sees."""
    fields = {
        "losses": ("dpo", "ipo"), "suite": "exact", "sweep": "beta", "trials": 3, "settings": SETTINGS, "workers": 1,
        "results": out, "until": "decided", "seeds": 2, "margin": 5.0,
    }  # fmt: skip
    lines: list[str] = []
    with Progress(Console(quiet=True), total=1, quiet=True) as progress:
        progress.note = lines.append
        _, failures = compare(make_plan(RunRequest.model_validate({**fields, **changes})), progress)
    assert failures == []
    return lines


def selecting(out: Path) -> dict[tuple[str, float], list[int]]:
    """The seeds of each setting on validation prompts."""
    seeds: dict[tuple[str, float], list[int]] = {}
    for record in load_records(out):
        if record.evaluation.split == "validation" and record.spec.objective != START:
            seeds.setdefault((record.spec.objective, record.spec.params["beta"]), []).append(record.spec.seed)
    return {setting: sorted(values) for setting, values in sorted(seeds.items())}


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("raced")
    return out, race(out)


def test_settings_that_may_be_the_best_get_further_seeds_and_the_best_mean_is_trained_again(raced):
    out, lines = raced
    assert set(map(tuple, selecting(out).values())) == {(0, 1, 2)}  # the margin leaves all in question
    for name in ("dpo", "ipo"):
        for seed in (1, 2):
            assert f"{name}: 3 of 3 settings may be the best: seed {seed} for each of them" in lines
    (group,) = group_records(load_records(out))
    for name in ("dpo", "ipo"):
        best = group.best(name)
        assert [record.spec.seed for record in best.test] == [1000, 1001]
        means = [
            sum(record.metric("target").value for record in one.validation) / 3 for one in group.by_objective[name]
        ]
        assert best is group.by_objective[name][means.index(max(means))]


def test_settings_out_of_question_get_none(tmp_path):
    race(tmp_path, margin=1e-9)
    seeds = selecting(tmp_path)
    assert any(values == [0] for values in seeds.values())
    (group,) = group_records(load_records(tmp_path))
    for name in ("dpo", "ipo"):
        most = max(len(one.validation) for one in group.by_objective[name])
        assert len(group.best(name).validation) == most


def test_one_seed_chooses_where_the_user_wants_it(tmp_path):
    race(tmp_path, select_seeds=1)
    assert set(map(tuple, selecting(tmp_path).values())) == {(0,)}
    assert all("further_seeds" not in record.tuning for record in load_records(tmp_path))


def test_a_choice_that_was_interrupted_goes_on_to_the_same_one(raced, tmp_path):
    out, _ = raced
    again = tmp_path / "again"
    shutil.copytree(out, again)
    last = [r for r in load_records(again) if r.spec.objective != START and r.spec.seed in (2, 1000, 1001)]
    for record in last:
        shutil.rmtree(again / "runs" / record.key)
    kept = {path: path.stat().st_mtime_ns for path in again.glob("runs/*/train.json")}
    race(again)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    before, after = (group_records(load_records(folder))[0].settings for folder in (out, again))
    for one, other in zip(before, after, strict=True):
        assert (one.objective, one.params, one.best) == (other.objective, other.params, other.best)
        assert [r.scores for r in one.every_record] == [r.scores for r in other.every_record]


def test_a_choice_by_several_seeds_needs_a_race(tmp_path):
    with pytest.raises(UsageError, match="--select-seeds 2 is of a race"):
        race(tmp_path, until=None, margin=None, select_seeds=2)
