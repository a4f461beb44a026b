"""How far an evaluation is: reported, logged, and seen by ``bench status`` while it lasts."""

import json
import time

import pytest

from bench.core.assets import SUITES
from bench.evaluate.progress import counted
from bench.evaluate.sampling import sample, sample_with_states
from bench.models.loading import load_model
from bench.runner.evaluation_log import FILE, follow_evaluation
from bench.runner.hooks import hooks_of
from bench.runner.keys import start_spec
from bench.runner.plan import make_plan
from bench.runner.run import run
from bench.runner.status.overview import overview
from bench.runner.status.show import render_status
from bench.runner.status.trainings import read_trainings
from bench.utils.event_log import command_log
from bench.utils.stop_signals import Stop
from sweeps.heartbeat import worker_id
from tests.bench.runner.status.test_status import said
from tests.bench.suites.test_chat import data, request  # noqa: F401


def test_an_evaluation_reports_each_part_and_status_sees_it_while_it_lasts(tmp_path, data, monkeypatch):  # noqa: F811
    plan = make_plan(request(tmp_path, data))
    results = tmp_path / "results"
    texts: list[str] = []
    seen = []

    def advance(units: int, text: str) -> None:
        texts.append(text)
        if units == 0 and "evaluating" in text:
            seen.append((text, overview(results)))

    hooks = hooks_of(plan, advance=advance, note=lambda text: None, stop=Stop())
    monkeypatch.setattr("bench.runner.evaluation_log.DISPLAY_SECONDS", 0.0)
    monkeypatch.setattr("bench.runner.evaluation_log.WRITE_SECONDS", 0.0)
    with command_log(results, "run", arguments=[], make=True):
        run(plan.workspace, start_spec(plan.workspace), "test", hooks, tuning=plan.protocol)
    parts = list(dict.fromkeys(text.split(" · ")[2].rpartition(" ")[0].split(" (")[0] for text, _ in seen))
    names = ("generation", "KL", "judge fitted on held-out pairs", "judge gold on held-out pairs", "held-out pairs")
    for name in names:
        assert any(part.startswith(name) for part in parts), parts
    # What is shown is a moment ahead of what is written: from the second report on, status knows of it.
    for _, state in seen[1:]:
        (worker,) = state.workers
        (training,) = state.trainings
        assert worker.at.startswith("start seed 0, evaluating test for 0:")
        assert not worker.stale
        assert (training.phase, training.state) == ("evaluating", "at work")
        assert training.evaluating.split == "test"
        assert 0 <= training.evaluating.done <= training.evaluating.total
        assert "evaluating test" in said(state)
    assert not overview(results).workers
    assert not list(results.glob(f"work/*/{FILE}"))
    events = [json.loads(line) for path in results.glob("logs/*.jsonl") for line in path.read_text().splitlines()]
    logged = [event for event in events if event["event"] == "evaluation_progress"]
    assert {"generation", "KL"} <= {event["part"] for event in logged}
    assert {(event["run"], event["split"]) for event in logged} == {(start_spec(plan.workspace).key, "test")}


def test_the_eta_is_of_the_part_until_an_evaluation_told_what_the_others_take(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("bench.runner.evaluation_log._last", {})
    monkeypatch.setattr("bench.runner.evaluation_log.DISPLAY_SECONDS", 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    shown: list[str] = []
    spec = _spec(tmp_path)
    for _ in range(2):
        with follow_evaluation(tmp_path, spec, split="test", worker=worker_id(), show=shown.append) as report:
            report("generation", 0, 4)
            report("generation", 2, 4)
            report("lm-eval", 0, 4)
    first, again = shown[:3], shown[3:]
    assert "ETA" not in first[0]
    assert first[1].endswith("generation 2/4 (ETA 0:10)")
    # Half of generation is left, 10 s, and lm-eval took 10 s.
    assert again[1].endswith("generation 2/4 (evaluation: ETA 0:20)")


def _spec(tmp_path):
    from bench.core.request import RunRequest

    plan = make_plan(RunRequest(losses=("dpo",), suite="exact", results=tmp_path / "exact", workers=1))
    return start_spec(plan.workspace)


def test_an_evaluation_that_was_killed_is_left_and_one_that_failed_is_gone(tmp_path):
    spec = _spec(tmp_path)
    work = tmp_path / "work" / spec.key
    work.mkdir(parents=True)
    with follow_evaluation(work, spec, split="test", worker=worker_id(), show=lambda text: None) as report:
        report("generation", 1, 4)
        stored = json.loads((work / FILE).read_text())
    with pytest.raises(ZeroDivisionError):
        _fail(work, spec)
    assert not (work / FILE).exists()
    host, _, rest = worker_id().rsplit(":", 2)
    (work / FILE).write_text(json.dumps({**stored, "worker": f"{host}:999999999:{rest}"}))
    (training,), problems = read_trainings(tmp_path, now=time.time())
    assert (training.phase, training.state, problems) == ("evaluating", "left", [])
    render_status(overview(tmp_path))


def _fail(work, spec):
    with follow_evaluation(work, spec, split="test", worker=worker_id(), show=lambda text: None) as report:
        report("generation", 1, 4)
        assert (work / FILE).exists()
        raise ZeroDivisionError


def test_prompts_are_counted_up_to_all_of_them_and_change_nothing():
    model = load_model(SUITES / "sentiment" / "model")
    prompts = [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10]]
    how = {"max_tokens": 6, "temperature": 1.0, "seed": 0, "end_ids": frozenset([0])}
    done: list[int] = []
    drawn, _ = sample_with_states(model, prompts, **how, progress=done.append)
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 3)
    assert drawn == sample(model, prompts, **how)


def test_counts_never_pass_the_total():
    reports = []
    count = counted(lambda *report: reports.append(report), "lm-eval", 3)
    count(2)
    count(2)
    assert reports == [("lm-eval", 0, 3), ("lm-eval", 2, 3), ("lm-eval", 3, 3)]
