"""``bench worker``: what it joins, what it refuses, and that nothing secret or harmful gets into names and files."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.request import Request
from bench.core.results import load_records
from bench.errors import UsageError
from bench.runner.plan import check_study_name, make_plan
from bench.runner.study_manifest import Posted, check_agrees, folder_id, identity_of, post_plan, read_posted, request_of
from sweeps.posts import posts
from sweeps.storage import open_storage, redact_url, without_password

STUDY = (
    "--loss", "dpo", "--suite", "exact", "--sweep", "beta=0.1,1.0", "--seeds", "1", "--study", "night",
    "--set", "steps=8", "--set", "problem.pairs=64",
)  # fmt: skip


def request(out: Path, **changes: object) -> Request:
    base = Request(
        losses=("dpo",), sweep="beta=0.1,1.0", suite="exact", seeds=1, settings=("steps=8", "problem.pairs=64"),
        results=out, study="night", workers=1,
    )  # fmt: skip
    return replace(base, **changes)


def posted(out: Path, **changes: object) -> Posted:
    storage = open_storage(f"{out}/posts.log")
    post_plan(make_plan(request(out, **changes)), storage)
    (found,) = read_posted(posts(storage, "night"), study="night")
    return found


def test_a_worker_gets_back_the_plan_that_was_posted(tmp_path):
    found = posted(tmp_path, storage="postgresql://me:hunter2@host/db")
    plan = make_plan(request_of(found, {"study": "night", "workers": 1}))
    check_agrees(plan, found)
    assert identity_of(plan) == found.identity
    assert "hunter2" not in (tmp_path / "posts.log").read_text()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"settings": ("steps=9",)}, r"protocol.steps is 8 there, 9 here"),
        ({"settings": ("problem.pairs=72",)}, r"data is .+ there, .+ here; "),
    ],
)
def test_a_machine_that_would_do_other_work_is_refused_and_each_difference_named(tmp_path, own, said):
    found = posted(tmp_path)
    plan = make_plan(request_of(found, {"study": "night", "workers": 1, **own}))
    with pytest.raises(UsageError, match=said):
        check_agrees(plan, found)


def test_a_loss_file_with_other_content_is_refused(tmp_path):
    found = posted(tmp_path)
    found.identity["objectives"]["dpo"]["file"] = "0" * 64
    plan = make_plan(request_of(found, {"study": "night", "workers": 1}))
    with pytest.raises(UsageError, match=r'objectives.dpo.file is "000.+ there, null here'):
        check_agrees(plan, found)


def test_another_results_folder_is_refused(tmp_path):
    found = posted(tmp_path / "shared")
    other = tmp_path / "other"
    folder_id(other, make=True)
    plan = make_plan(request_of(found, {"study": "night", "workers": 1, "results": other}))
    with pytest.raises(UsageError, match="is not the one that study 'night' was opened with"):
        check_agrees(plan, found)


def test_a_folder_keeps_its_identity(tmp_path):
    assert folder_id(tmp_path, make=False) is None
    first = folder_id(tmp_path, make=True)
    assert first == folder_id(tmp_path, make=True) == folder_id(tmp_path, make=False)


@pytest.mark.parametrize("name", ["night", "a", "2026-11-21.dpo_b", "_x", "x" * 64])
def test_plain_names_are_names_of_studies(name):
    check_study_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "/etc/x",
        "a/b",
        "a\\b",
        "x" * 65,
        "a\x00b",
        "a\nb",
        "a b",
        "-x",
        ".hidden",
        "ночь",
        "a\u202eb",
    ],
)
def test_what_could_leave_its_folder_is_no_name_of_a_study(name, tmp_path):
    with pytest.raises(UsageError, match="is no name of a study"):
        make_plan(request(tmp_path / "results", study=name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [{"patience": float("nan")}, {"lease": float("inf")}, {"lease": 0.5}])
def test_what_is_no_time_is_refused(tmp_path, given):
    with pytest.raises(UsageError, match="is no number of seconds"):
        make_plan(request(tmp_path, **given))


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://me:hunter2@host:5432/db", "hunter2"),
        ("postgresql://me:hunt@er2@host/db", "hunt@er2"),
        ("postgresql+psycopg2://:hunter2@host/db?sslmode=require", "hunter2"),
        ("postgresql://host/db?user=me&password=hunter2&sslmode=require", "hunter2"),
    ],
)
def test_a_password_is_shown_nowhere(url, secret):
    assert secret not in redact_url(url)
    assert secret not in without_password(f"cannot connect to {url}: {secret} is wrong", url)
    assert "host" in redact_url(url)


def bench(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **variables}, check=False,
    )  # fmt: skip


def test_a_worker_does_what_a_study_that_was_opened_lacks(tmp_path):
    storage = f"sqlite:///{tmp_path}/studies.db"
    opened = bench("run", *STUDY, "--out", tmp_path / "results", "--open", LOSSBENCH_STORAGE=storage)
    assert opened.returncode == 0, opened.stderr
    done = bench("worker", "--study", "night", LOSSBENCH_STORAGE=storage)
    assert done.returncode == 0, done.stderr
    assert "night: dpo: done" in done.stdout
    assert len(load_records(tmp_path / "results")) == 5  # two settings, a final, the start model on both splits
    wrong = bench("worker", "--study", "nigth", LOSSBENCH_STORAGE=storage)
    assert wrong.returncode == 2
    assert "did you mean 'night'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def wait_for(condition, *, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_worker_that_slept_longer_than_its_lease_overwrites_nothing(tmp_path):
    study = [*STUDY, "--lease", "2", "--set", "execution.checkpoint_every=1", "--set", "steps=150"]
    # Not SQLite: whoever is stopped in the middle of a write to it holds everybody up.
    out = tmp_path / "results"
    storage = f"journal:{out}/studies/night-dpo/journal.log"
    assert bench("run", *study, "--out", out, "--open").returncode == 0
    command = [sys.executable, "-m", "bench", "worker", "--study", "night", "--out", str(out), "--workers", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    sleeper = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: list(out.glob("work/*/state-*/manifest.json")))
    sleeper.send_signal(signal.SIGSTOP)
    other = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    opened = open_storage(storage)

    def trials() -> list:
        return opened.get_all_trials(opened.get_study_id_from_name("night-dpo"))

    try:
        # The other one has taken the setting over, and is now at what the sleeper holds by a lock on the run.
        wait_for(lambda: any(trial.state.name == "FAIL" and "outcome" not in trial.user_attrs for trial in trials()))
        time.sleep(3.0)
        before = {path: path.read_bytes() for path in out.glob("runs/*/train.json")}
    finally:
        sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(timeout=240) == 0
    assert other.wait(timeout=240) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert len(load_records(out)) == 5
    counted = [trial for trial in trials() if trial.state.name == "COMPLETE"]
    assert sorted(trial.params["beta"] for trial in counted) == [0.1, 1.0]
    assert [trial.user_attrs["outcome"]["status"] for trial in counted] == ["completed", "completed"]
