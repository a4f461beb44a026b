"""Pruned trials: what is kept of them, what tables show, what it saved, and that protocols are never mixed."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.record import START, RunRecord
from bench.core.results import load_records, verify_results
from bench.errors import UsageError
from bench.report.analysis.pruning import pruning_of, pruning_text
from bench.report.analysis.settings import group_records
from bench.report.tables.leaderboard import leaderboard
from bench.runner.compare import compare
from bench.runner.plan import make_plan
from bench.utils.progress import Progress
from sweeps.protocol import TuningProtocol
from tests.bench.suites.exact.test_suite import request

SWEEP = {
    "losses": ("ipo",), "sweep": "beta=10,0.3,0.1,3,0.03", "seeds": 1,
    "settings": ("steps=24", "problem.pairs=256", "execution.log_every=5"),
}  # fmt: skip


def run(results: Path, **changes) -> list[RunRecord]:
    plan = make_plan(request(results, **{**SWEEP, **changes}))
    with Progress(Console(quiet=True), total=1, quiet=True) as progress:
        records, failures = compare(plan, progress)
    assert not failures
    return records


@pytest.fixture(scope="module")
def pruned(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pruned")
    run(out, pruner="median")
    return out


def test_pruned_trials_stay_as_records_without_weights_and_the_best_is_found(pruned):
    tuned = [r for r in load_records(pruned) if r.evaluation.split == "validation" and r.spec.objective != START]
    by_beta = {record.spec.params["beta"]: record for record in tuned}
    # 10 and 0.3 run to their end, whatever they are: two have to, before there is a middle to fall below.
    assert {beta for beta, record in by_beta.items() if record.status == "pruned"} == {3.0}
    assert {record.status for beta, record in by_beta.items() if beta != 3.0} == {"completed"}
    lost = by_beta[3.0]
    assert lost.metric("target") is None
    assert lost.key == lost.spec.pruned_key(lost.protocol) != lost.spec.key
    assert lost.cost.tokens == pytest.approx(by_beta[0.03].cost.tokens / 4, rel=0.1)
    assert list(lost.provenance["rungs"]) == ["6"]
    assert list(by_beta[0.03].provenance["rungs"]) == ["6", "12"]
    assert not (pruned / "runs" / lost.key / "checkpoint").exists()
    assert not (pruned / "runs" / lost.spec.key).exists()
    assert verify_results(pruned) == []


def test_the_leaderboard_shows_pruned_trials_and_never_chooses_one(pruned):
    frame = leaderboard(load_records(pruned))
    rows = {row.beta: row for row in frame.itertuples() if row.objective == "ipo"}
    assert (rows[3.0].pruned, rows[3.0].completed, rows[0.03].pruned) == (1, 0, 0)
    assert not rows[3.0].best
    assert sum(row.best for row in rows.values()) == 1


def test_what_was_saved_and_what_was_risked_is_computed_from_records_alone(pruned):
    (found,) = pruning_of(load_records(pruned))
    assert (found.pruner, found.trials, found.pruned) == ("median", 5, 1)
    assert (found.planned, found.run) == (5 * 24, 4 * 24 + 6)
    assert found.saved == pytest.approx(0.15)
    assert dict(found.compared) == {6: 4, 12: 4}
    assert dict(found.correlation) == pytest.approx({6: 1.0, 12: 0.8})
    assert "1 of 5 trials ended early, 15% of the sweep's steps not run" in pruning_text(found)


def test_a_second_call_trains_nothing_and_finds_the_same(pruned):
    stamps = {path: path.stat().st_mtime_ns for path in pruned.glob("runs/*/manifest.json")}
    before = load_records(pruned)
    assert len(run(pruned, pruner="median")) == 8  # five settings, one final, the start model twice
    assert {path: path.stat().st_mtime_ns for path in pruned.glob("runs/*/manifest.json")} == stamps
    assert load_records(pruned) == before


def test_without_the_pruner_the_same_settings_are_trained_to_their_end_and_stand_apart(pruned, tmp_path):
    import shutil

    both = tmp_path / "both"
    shutil.copytree(pruned, both)
    run(both)
    groups = group_records(load_records(both))
    assert len(groups) == 2
    plain = next(group for group in groups if "pruner" not in group.tuning)
    assert {record.status for record in plain.records} == {"completed"}
    assert len(plain.settings) == 5
    # And the pruner's own records are what they were.
    again = next(group for group in groups if "pruner" in group.tuning)
    assert again.records == group_records(load_records(pruned))[0].records
    assert pruning_of(plain.records) == []


def test_halving_goes_on_with_one_trial_in_two(tmp_path):
    records = run(tmp_path, pruner="halving", seeds=0, sweep="beta=0.03,0.1,0.3,3,10")
    statuses = [record.status for record in records if record.spec.objective != START]
    assert statuses.count("pruned") >= 2
    assert "completed" in statuses
    (found,) = pruning_of(records)
    assert found.saved > 0.3


def test_later_seeds_of_a_pruned_setting_are_not_run(tmp_path):
    plan = make_plan(request(tmp_path, **{**SWEEP, "seeds": 0, "pruner": "median"}))
    two = type(plan)(**{**{name: getattr(plan, name) for name in plan.__dataclass_fields__}, "seeds": (0, 1)})
    with Progress(Console(quiet=True), total=1, quiet=True) as progress:
        records, _ = compare(two, progress)
    lost = [record for record in records if record.status == "pruned"]
    assert lost
    assert {record.spec.seed for record in lost} == {0}
    (found,) = pruning_of(records)
    assert found.planned == 5 * 2 * 24
    assert found.run == (5 - len(lost)) * 2 * 24 + sum(r.metric("clipped_share").n for r in lost)


def test_a_protocol_without_pruner_keeps_the_hash_it_had_before_there_were_pruners():
    old = {
        "preset": "quick", "terms": "t", "axes": ("own",), "trials": 5, "sampler": "grid", "seeds": (0,),
        "final_seeds": (1000,), "target": "target", "direction": "maximize", "steps": 64, "pairs": 3600,
    }  # fmt: skip
    protocol = TuningProtocol(**old)
    assert json.loads(protocol.model_dump_json()) == json.loads(json.dumps(old))
    assert protocol.hash == "f450af4b4c69"
    others = {TuningProtocol(**old, pruner=name, rungs=(16, 32)).hash for name in ("median", "halving")}
    assert len(others | {protocol.hash}) == 3
    for wrong in ({"pruner": "median"}, {"rungs": (16,)}, {"pruner": "median", "rungs": (32, 16)}):
        with pytest.raises(ValueError, match="pruner"):
            TuningProtocol(**old, **wrong)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pruner": "hyperband"}, "unknown pruner 'hyperband'"),
        ({"pruner": "median", "processes": 2}, "ranks cannot be ended early"),
        ({"pruner": "median", "settings": ("steps=1",)}, "1 steps are too few to end one early"),
    ],
)
def test_a_pruner_that_cannot_work_is_refused_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(UsageError, match=said):
        make_plan(request(tmp_path, **{**SWEEP, **changes}))
