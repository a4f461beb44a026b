"""The suite exact through the command's own path: same plan, cache, loop and records as every other suite."""

from pathlib import Path

import pytest

from bench.core.request import RunRequest
from bench.core.results import load_records
from bench.errors import UsageError
from bench.report.analysis.settings import group_records
from bench.runner.compare import compare, plan_units
from bench.runner.plan import make_plan
from bench.utils.progress import Progress


def request(results, **changes) -> RunRequest:
    settings = ("steps=8", "problem.pairs=256")
    fields = {"losses": ("dpo",), "suite": "exact", "seeds": 1, "settings": settings, "results": results, "workers": 1}
    return RunRequest.model_validate({**fields, **changes})


def run(results, **changes):
    from rich.console import Console

    plan = make_plan(request(results, **changes))
    with Progress(Console(quiet=True), total=1, quiet=True) as progress:
        return compare(plan, progress)


def test_a_run_is_measured_by_enumeration_and_its_record_knows_the_frontier(tmp_path):
    records, failures = run(tmp_path, losses=("dpo", "kto", "sft"), protocol="quick", trials=2)
    assert not failures
    groups = group_records(load_records(tmp_path))
    assert [group.objectives for group in groups] == [("dpo", "kto", "sft")]
    trained = next(record for record in records if record.spec.objective == "dpo")
    for name in ("frontier_gap", "regret", "kl_to_optimum", "implicit_reward_error", "win_rate"):
        assert trained.metric(name, task="exact") is not None, name
    assert len(trained.scores["target"]) == 32
    assert trained.metric("accuracy", task="preference").n == 512
    assert trained.spec.data.problem.pairs == 256
    assert trained.tuning["axes"] == ["own"]
    start = groups[0].start.validation[0]
    curve = start.provenance["frontier"]["validation"]
    assert curve["kl"][0] == 0
    assert curve["reward"][0] == pytest.approx(start.metric("gold_reward").value)
    assert curve["reward"] == sorted(curve["reward"])
    gap = trained.metric("frontier_gap", task="exact").value
    assert gap > 0
    found = {record.protocol for record in load_records(tmp_path)}
    assert found == {trained.protocol}


def test_one_training_serves_two_protocols_and_tables_keep_them_apart(tmp_path):
    first, _ = run(tmp_path, sweep="beta=0.1", seeds=1)
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/train.json")}
    second, _ = run(tmp_path, sweep="beta=0.1", seeds=2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/train.json")}.items() >= trained.items()
    shared = {r.key: r for r in first}.keys() & {r.key: r for r in second}.keys()
    assert len(shared) == 3  # the start model, the trial, and the first fresh seed
    for key in shared:
        one, two = (next(r for r in rs if r.key == key and r.evaluation.split == "test")
                    if any(r.key == key and r.evaluation.split == "test" for r in rs)
                    else next(r for r in rs if r.key == key) for rs in (first, second))  # fmt: skip
        assert one.protocol != two.protocol
        assert one.metrics == two.metrics
        assert one.scores == two.scores
    assert len(group_records(load_records(tmp_path))) == 2


def test_the_progress_of_a_command_counts_what_is_left_to_do(tmp_path):
    def left(seeds, **changes):
        return plan_units(make_plan(request(tmp_path, sweep="beta=0.1,1", seeds=seeds, **changes)))

    whole = left(1)
    run(tmp_path, sweep="beta=0.1,1", seeds=1)
    assert left(3) == 2 * whole // 3  # two fresh seeds more; the two trials and one fresh seed are there
    assert left(1, resume=False) == whole


def test_a_dial_makes_another_problem_and_so_another_group(tmp_path):
    run(tmp_path, seeds=0)
    run(tmp_path, seeds=0, settings=("steps=8", "problem.pairs=256", "flips=0.2"))
    flips = [group.settings[0].validation[0].spec.data.problem.flips for group in group_records(load_records(tmp_path))]
    assert sorted(flips) == [0.0, 0.2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "folder"}, "--model folder: suite exact makes"),
        ({"settings": ("lora=true",)}, "no layer for LoRA"),
        ({"settings": ("evaluation.samples=4",)}, "evaluation.samples=4: suite exact scores every completion"),
        ({"settings": ("evaluation.samples=0",)}, "evaluation.samples=0"),
        ({"settings": ("problem.flips=0.7",)}, "problem.flips=0.7"),
        ({"settings": ("problem.flip=0.1",)}, "did you mean 'problem.flips'"),
        ({"suite": "sentiment", "settings": ("problem.flips=0.1",)}, "suite sentiment has no problem"),
        ({"protocol": "standart"}, "no protocol 'standart'"),
    ],
)
def test_what_does_not_fit_the_suite_is_refused_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(UsageError) as caught:
        make_plan(request(tmp_path, **changes))
    assert message in str(caught.value)
    assert not list(tmp_path.glob("runs/*"))


def test_a_results_folder_may_be_called_as_a_model_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(request(Path("run:night")))
    assert plan.workspace.model.is_relative_to("run:night")
