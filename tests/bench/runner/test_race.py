"""Races of real trainings: looks, dropped arms, budgets, workers, and what is left after kill -9."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.budget import Budget, read_budget
from bench.core.record import START
from bench.core.request import RunRequest
from bench.core.results import load_records, read_record
from bench.errors import UsageError
from bench.report.analysis.comparison import scores_of
from bench.runner.compare import compare, plan_units
from bench.runner.plan import RACE_SEEDS, draft_plan, make_plan
from bench.runner.race import Racing, end_text, look_text, open_racing
from bench.runner.status.overview import overview
from bench.runner.status.show import render_status
from bench.stats.race import RaceTerms, race_terms, run_race
from bench.utils.progress import Progress
from losses.objective import REGISTERED
from sweeps.protocol import TuningProtocol
from tests.bench.real_sweeps import in_session, wait_for

REVERSED = '''
from torch.nn.functional import softplus
from losses import Pairs, Param, Requires
from losses.objective import objective
from losses.space import Log

@objective(
    params={"beta": Param(default=0.1, space=Log(0.01, 1), symbol="β", unit="1/nat", meaning="m", low=0.001, high=10)},
    batch=Pairs, requires=Requires.REFERENCE, reward="log_ratio", aggregation="sum",
    paper="none", equation="softplus(β Δ)", optimum="none", version=1,
)
def reversed_dpo(pairs: Pairs, *, beta: float):
    """Prefers what was rejected."""
    return softplus(beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio))
'''
SETTINGS = ("steps=24", "lr=0.8", "problem.pairs=512", "problem.contexts=64", "problem.length=2")
ARMS = ("dpo", "ipo", "orpo", "reversed_dpo")
SEEDS = 5


@pytest.fixture(scope="module")
def loss_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("loss") / "reversed_dpo.py"
    path.write_text(REVERSED)
    yield path
    # fixtures of the module register it before the registry of a test is noted
    REGISTERED.pop("reversed_dpo", None)


def request(out: Path, file: Path, **changes: object) -> RunRequest:
    fields = {
        "losses": ARMS, "loss_files": (file,), "suite": "exact", "trials": 1, "settings": SETTINGS, "workers": 1,
        "results": out, "until": "decided", "seeds": SEEDS, "margin": 0.02,
    }  # fmt: skip
    return RunRequest.model_validate({**fields, **changes})


def race(out: Path, file: Path, **changes: object) -> tuple[list, list[str]]:
    """Race in this process; returns the records and the lines that a user sees."""
    lines: list[str] = []
    plan = make_plan(request(out, file, **changes))
    with Progress(Console(quiet=True), total=1, quiet=True) as progress:
        progress.note = lines.append
        records, failures = compare(plan, progress)
    assert failures == []
    return records, lines


def finals(out: Path) -> dict[str, list[int]]:
    """The fresh seeds of each arm that have a record."""
    seeds: dict[str, list[int]] = {}
    for record in load_records(out):
        if record.evaluation.split == "test" and record.spec.objective != START:
            seeds.setdefault(record.spec.objective, []).append(record.spec.seed)
    return {arm: sorted(values) for arm, values in sorted(seeds.items())}


def history(out: Path) -> dict:
    (path,) = out.glob("races/*/race.json")
    return json.loads(path.read_bytes())


def decisions(out: Path) -> dict:
    """The history without what depends on clocks."""
    whole = history(out)
    return {
        **whole,
        "looks": [{k: v for k, v in look.items() if k not in ("time", "seconds")} for look in whole["looks"]],
    }


def trained(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("runs/*/train.json")}


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory, loss_file: Path) -> tuple[Path, list, list[str]]:
    out = tmp_path_factory.mktemp("raced")
    return out, *race(out, loss_file)


def test_what_was_trained_is_what_a_replay_of_the_records_asks_for(raced):
    out, records, _ = raced
    scores: dict[str, dict[int, list[float]]] = {arm: {} for arm in ARMS}
    for record in load_records(out):
        if record.evaluation.split == "test" and record.spec.objective != START:
            scores[record.spec.objective] |= scores_of([record], name="target")
    found = run_race(scores, race_terms(SEEDS, 0.02), order=range(1000, 1000 + SEEDS))
    assert found.end is not None
    last = {arm: look.seeds for look in found.looks for arm in look.arms}
    assert finals(out) == {arm: list(range(1000, 1000 + last[arm])) for arm in ARMS}
    assert {(r.key, r.evaluation_key) for r in records} == {(r.key, r.evaluation_key) for r in load_records(out)}
    assert [(look["seeds"], look["arms"], look["dropped"]) for look in history(out)["looks"]] == [
        (look.seeds, list(look.arms), list(look.dropped)) for look in found.looks
    ]
    assert (history(out)["end"], history(out)["racing"]) == (found.end, list(found.arms))


def test_an_arm_that_is_clearly_worse_takes_fewer_trainings_than_the_others(raced):
    out, _, lines = raced
    assert len(finals(out)["reversed_dpo"]) == race_terms(SEEDS, 0.02).looks[0]
    assert sum(map(len, finals(out).values())) < len(ARMS) * SEEDS
    assert "reversed_dpo" in history(out)["looks"][0]["dropped"]
    assert any(line.startswith("look 1, 3 seeds: ") and "reversed_dpo" in line for line in lines)
    assert sum(look["trainings"] for look in history(out)["looks"]) == sum(map(len, finals(out).values()))


def test_the_records_hold_the_terms_of_the_race_and_the_seeds_that_it_may_take(raced):
    _, records, _ = raced
    terms = race_terms(SEEDS, 0.02)
    expected = {"looks": list(terms.looks), "levels": list(terms.levels), "margin": 0.02}
    assert all(record.tuning["race"] == expected for record in records)
    assert all(record.tuning["final_seeds"] == list(range(1000, 1000 + SEEDS)) for record in records)
    assert all(record.tuning["arms"] == sorted(ARMS) for record in records)


def test_a_finished_race_trains_nothing_and_tells_its_looks_again(raced, loss_file):
    out, _, lines = raced
    before, text = trained(out), (next(out.glob("races/*/race.json"))).read_bytes()
    _, again = race(out, loss_file)
    assert trained(out) == before
    assert [line for line in again if "look" in line] == [line for line in lines if "look" in line]
    assert next(out.glob("races/*/race.json")).read_bytes() == text


def test_a_lost_history_is_made_again_from_the_records_and_a_damaged_one_is_replaced(raced, loss_file):
    out, _, _ = raced
    (path,) = out.glob("races/*/race.json")
    text = path.read_bytes()
    for damage in (None, b"", b"[1]", text[:-9], text.replace(b'"dropped"', b'"lost"', 1)):
        path.unlink() if damage is None else path.write_bytes(damage)
        race(out, loss_file)
        assert path.read_bytes() == text


def test_the_state_shows_the_race(raced):
    out, _, _ = raced
    state = overview(out)
    assert state.as_json()["races"][0]["arms"] == sorted(ARMS)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(render_status(state))
    shown = capture.get()
    assert "race of protocol" in shown
    assert "reversed_dpo dropped" in shown


def test_the_same_trainings_serve_a_race_on_other_terms(raced, loss_file):
    out, records, _ = raced
    before = trained(out)
    other, _ = race(out, loss_file, margin=5.0)
    assert trained(out) == before
    assert {record.protocol for record in other}.isdisjoint({record.protocol for record in records})
    assert len(list(out.glob("races/*/race.json"))) == 2
    (path,) = (p for p in out.glob("races/*/race.json") if json.loads(p.read_bytes())["margin"] == 5.0)
    assert json.loads(path.read_bytes())["end"] == "decided"
    for folder in (path.parent, *out.glob("runs/*/evals/*")):
        if folder == path.parent or read_record(folder).protocol == path.parent.name:
            shutil.rmtree(folder)


def test_a_budget_of_runs_ends_before_the_look_that_it_does_not_reach_and_a_larger_one_goes_on(
    raced, loss_file, tmp_path
):
    first = len(ARMS) * race_terms(SEEDS, 0.02).looks[0]
    records, lines = race(tmp_path, loss_file, budget=f"runs={first + 1}")
    assert sum(map(len, finals(tmp_path).values())) == first
    assert history(tmp_path)["end"] is None
    assert lines[-1].startswith(f"budget spent after look 1, 3 seeds, {first} trainings: ")
    assert " undecided: " in lines[-1]
    needed = int(lines[-1].rpartition("--budget runs=")[2])
    again, _ = race(tmp_path, loss_file, budget=f"runs={first + 1}")
    assert len(again) == len(records)
    race(tmp_path, loss_file, budget=f"runs={needed}")
    assert decisions(tmp_path) == decisions(raced[0])
    assert finals(tmp_path) == finals(raced[0])


@pytest.mark.slow
def test_a_budget_of_time_stops_before_the_next_training_and_the_same_command_goes_on(raced, loss_file, tmp_path):
    for _ in range(30):
        before = sum(map(len, finals(tmp_path).values())) if tmp_path.exists() else 0
        _, lines = race(tmp_path, loss_file, budget="2s")
        if not lines[-1].startswith("budget spent"):
            break
        assert before < 40
    assert decisions(tmp_path) == decisions(raced[0])
    assert finals(tmp_path) == finals(raced[0])


def test_a_race_counts_up_to_its_first_look_and_each_look_adds_the_next(loss_file, tmp_path):
    plan = make_plan(request(tmp_path, loss_file))
    assert plan_units(plan) == (len(ARMS) + len(ARMS) * 3) * 36
    with Progress(Console(quiet=True), total=100, quiet=True) as progress:
        progress.milestone("look 1", 36)
        progress.milestone("look 1", 36)
        assert progress._total == 136


def test_an_arm_that_has_chosen_nothing_is_not_in_the_race(loss_file, tmp_path):
    plan = make_plan(request(tmp_path, loss_file))
    empty = open_racing(plan, dict.fromkeys(ARMS, ()))
    assert empty.is_over
    assert empty.open == []


SCORES = {
    "a": {s: [5.0 + (s * p % 7) / 10 for p in range(20)] for s in range(8)},
    "b": {s: [5.0 + (s * p % 5) / 10 for p in range(20)] for s in range(8)},
    "c": {s: [1.0 + (s * p % 11) / 10 for p in range(20)] for s in range(8)},
}


def racing_of(terms: RaceTerms, *, seeds: int = 8, spent: bool = False) -> Racing:
    found = run_race({arm: {s: rows[s] for s in range(seeds)} for arm, rows in SCORES.items()}, terms, order=range(8))
    return Racing(
        order=tuple(range(8)), pieces={arm: list(range(8)) for arm in SCORES}, race=found, tuning={}, most=None,
        records={}, spent=spent,
    )  # fmt: skip


def test_lines_of_looks_and_of_the_end():
    racing = racing_of(RaceTerms((3, 8), (0.025, 0.025), 1e-6))
    assert look_text(racing.race, 1) == "look 1, 3 seeds: c dropped; 1 undecided"
    assert end_text(racing).startswith(
        "race out of seeds after look 2, 8 seeds, 19 trainings: a is first; 1 undecided: b"
    )
    stopped = racing_of(RaceTerms((3, 8), (0.025, 0.025), 1e-6), seeds=3, spent=True)
    assert end_text(stopped) == (
        "budget spent after look 1, 3 seeds, 9 trainings: a is first; 1 undecided: b; look 2 takes 10 trainings more: "
        "--budget runs=19"
    )
    decided = racing_of(RaceTerms((3, 8), (0.025, 0.025), 50.0))
    assert (
        end_text(decided)
        == "race decided after look 1, 3 seeds, 9 trainings: a is first; equal to it within 50: b, c; 0 worse"
    )
    assert end_text(racing_of(RaceTerms((3, 8), (0.025, 0.025), 1e-6), seeds=3)) is None


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2h", Budget(seconds=7200.0)),
        ("1h30m", Budget(seconds=5400.0)),
        (" 45 M ", Budget(seconds=2700.0)),
        ("0.5h", Budget(seconds=1800.0)),
        ("runs=120", Budget(runs=120)),
        ("RUNS = 7", Budget(runs=7)),
    ],
)
def test_budgets_that_can_be_read(text, budget):
    assert read_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["", "2", "h", "0h", "-1h", "runs=0", "runs=-3", "runs=1.5", "2x", "1e9h", "inf", "²h", "999999999d"]
)
def test_budgets_that_cannot_be_read(text):
    with pytest.raises(UsageError, match="--budget must be a time above 0"):
        read_budget(text)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"losses": ("dpo",), "loss_files": ()}, "dpo has nothing to race against"),
        ({"losses": ("dpo", "dpo"), "loss_files": ()}, "dpo has nothing to race against"),
        ({"seeds": 0}, "needs two fresh seeds or more .got --seeds 0"),
        ({"seeds": 1}, "needs two fresh seeds or more .got --seeds 1"),
        ({"budget": "runs=11"}, "the first look of the race takes 12 trainings, 3 of each of 4 objectives"),
        ({"until": None, "margin": None, "budget": "2h"}, "--budget 2h is of a race, and there is none"),
        ({"until": None}, "--margin 0.02 is of a race, and there is none"),
    ],
)
def test_races_that_cannot_be_run_are_refused_before_anything_is_opened(loss_file, tmp_path, changes, problem):
    with pytest.raises(UsageError, match=problem):
        draft_plan(request(tmp_path, loss_file, **changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"until": "decide"}, "unknown until 'decide'"),
        ({"margin": 0.0}, "--margin must be a difference of the target above 0"),
        ({"margin": float("nan")}, "--margin must be"),
        ({"margin": -1.0}, "--margin must be"),
        ({"budget": "soon"}, "--budget must be"),
    ],
)
def test_options_that_cannot_be_right_are_refused(changes, problem):
    with pytest.raises(UsageError, match=problem):
        RunRequest.model_validate({"losses": ("dpo", "ipo"), "until": "decided", **changes})


def test_a_race_is_part_of_the_protocol_and_its_budget_is_not(loss_file, tmp_path):
    plain = make_plan(request(tmp_path, loss_file, until=None, margin=None)).protocol
    raced = make_plan(request(tmp_path, loss_file)).protocol
    assert "race" not in plain.model_dump()
    assert "arms" not in plain.model_dump()
    hashes = {
        plain.hash,
        raced.hash,
        make_plan(request(tmp_path, loss_file, margin=0.03)).protocol.hash,
        make_plan(request(tmp_path, loss_file, seeds=6)).protocol.hash,
        make_plan(request(tmp_path, loss_file, losses=("dpo", "ipo", "reversed_dpo"))).protocol.hash,
    }
    assert len(hashes) == 5
    same = [{"budget": "2h"}, {"budget": "runs=99"}, {"losses": ARMS[::-1]}, {"workers": 2}]
    assert {make_plan(request(tmp_path, loss_file, **changes)).protocol.hash for changes in same} == {raced.hash}
    assert make_plan(request(tmp_path, loss_file, seeds=None)).final_seeds == tuple(range(1000, 1000 + RACE_SEEDS))
    with pytest.raises(ValueError, match="give a race two arms or more"):
        TuningProtocol(**{**raced.model_dump(), "arms": ("dpo",)})
    with pytest.raises(ValueError, match="give a race two arms or more"):
        TuningProtocol(**{**raced.model_dump(), "race": None})


def command(out: Path, file: Path, *, workers: int, study: str | None = None) -> list[str]:
    settings = [part for text in SETTINGS for part in ("--set", text)]
    named = ["--study", study] if study is not None else []
    return [
        sys.executable, "-m", "bench", "run", "--loss", ",".join(ARMS), "--loss-file", str(file), "--suite", "exact",
        "--trials", "1", *settings, "--until", "decided", "--seeds", str(SEEDS), "--margin", "0.02",
        "--tracker", "none", "--workers", str(workers), "--out", str(out), *named,
    ]  # fmt: skip


def start(line: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finished(process: "subprocess.Popen[str]") -> str:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error[-3000:]
    return out


def numbers(out: Path) -> dict[tuple[str, str], dict]:
    """All that records say but for clocks, processes and memory."""
    return {
        (r.key, r.evaluation_key): r.model_dump(mode="json", exclude={"cost", "provenance"}) for r in load_records(out)
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, loss_file: Path) -> Path:
    out = tmp_path_factory.mktemp("alone")
    finished(start(command(out, loss_file, workers=1)))
    return out


def equal_races(out: Path, other: Path) -> None:
    assert decisions(out) == decisions(other)
    assert numbers(out) == numbers(other)
    for name in ("leaderboard.csv", "leaderboard.md"):
        assert (out / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.slow
def test_two_workers_race_as_one_process(alone, loss_file, tmp_path):
    text = finished(start(command(tmp_path, loss_file, workers=2)))
    equal_races(tmp_path, alone)
    assert text.count("look 1, 3 seeds: ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_two_workers_killed_at_a_random_moment_race_on_to_the_same_decision(alone, loss_file, tmp_path, attempt):
    chance = random.Random(f"{attempt} {time.time_ns()}")
    after = chance.randrange(len(ARMS), len(list(alone.glob("runs/*/checkpoint"))))
    process = start(command(tmp_path, loss_file, workers=2))
    wait_for(lambda: process.poll() is not None or len(list(tmp_path.glob("runs/*/checkpoint"))) >= after, seconds=300)
    time.sleep(chance.random())
    killed = process.poll() is None
    for pid in in_session(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    kept = trained(tmp_path)
    finished(start(command(tmp_path, loss_file, workers=2)))
    assert kept.items() <= trained(tmp_path).items(), (after, killed)
    equal_races(tmp_path, alone)


@pytest.mark.slow
def test_a_worker_that_joins_by_the_studys_name_races_along_and_sees_the_same_decision(alone, loss_file, tmp_path):
    line = command(tmp_path, loss_file, workers=1, study="night")
    finished(start([*line, "--open"]))
    joined = [sys.executable, "-m", "bench", "worker", "--study", "night", "--out", str(tmp_path), "--workers", "1"]
    workers = [start([*joined, "--tracker", "none"]) for _ in range(2)]
    outputs = [finished(process) for process in workers]
    assert all("look 1, 3 seeds: " in text for text in outputs)
    assert decisions(tmp_path) == decisions(alone)
    before = trained(tmp_path)
    finished(start(line))
    assert trained(tmp_path) == before
    equal_races(tmp_path, alone)
