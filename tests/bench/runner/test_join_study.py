"""``bench worker``: what it joins, what it refuses, and that nothing secret or harmful gets into names and files."""

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cli.worker import worker
from bench.core.request import RunRequest, check_study_name, fields_where
from bench.core.results import load_records
from bench.errors import UsageError
from bench.runner.plan import make_plan
from bench.runner.study_manifest import StoredPlan, check_agrees, folder_id, identity_of, post_plan, read_stored_plans
from sweeps.errors import StudyError
from sweeps.shared_values import posts
from sweeps.storage import open_storage, redact_url, without_password

STUDY = (
    "--loss", "dpo", "--suite", "exact", "--sweep", "beta=0.1,1.0", "--seeds", "1", "--study", "night",
    "--set", "steps=8", "--set", "problem.pairs=64",
)  # fmt: skip


def request(out: Path, **changes: object) -> RunRequest:
    base = RunRequest(
        losses=("dpo",), sweep="beta=0.1,1.0", suite="exact", seeds=1, settings=("steps=8", "problem.pairs=64"),
        results=out, study="night", workers=1,
    )  # fmt: skip
    return base.changed(changes)


def stored_plan(out: Path, **changes: object) -> StoredPlan:
    storage = open_storage(f"{out}/posts.log")
    post_plan(make_plan(request(out, **changes)), storage)
    (stored,) = read_stored_plans(posts(storage, "night"), study="night")
    return stored


def own(**fields: object) -> RunRequest:
    """What a worker's command line sets."""
    return RunRequest.model_validate({"study": "night", "workers": 1, **fields})


def test_a_worker_gets_back_the_plan_that_was_posted(tmp_path):
    stored = stored_plan(tmp_path, storage="postgresql://me:hunter2@host/db")
    plan = make_plan(own().over(stored.request))
    check_agrees(plan, stored)
    assert identity_of(plan) == stored.identity
    assert "hunter2" not in (tmp_path / "posts.log").read_text()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"settings": ("steps=9",)}, r"protocol.steps is 8 there, 9 here"),
        ({"settings": ("problem.pairs=72",)}, r"data is .+ there, .+ here; "),
    ],
)
def test_a_machine_that_would_do_other_work_is_refused_and_each_difference_named(tmp_path, fields, message):
    stored = stored_plan(tmp_path)
    plan = make_plan(own(**fields).over(stored.request))
    with pytest.raises(UsageError, match=message):
        check_agrees(plan, stored)


def test_a_loss_file_with_other_content_is_refused(tmp_path):
    stored = stored_plan(tmp_path)
    stored.identity["objectives"]["dpo"]["file"] = "0" * 64
    plan = make_plan(own().over(stored.request))
    with pytest.raises(UsageError, match=r'objectives.dpo.file is "000.+ there, null here'):
        check_agrees(plan, stored)


def test_another_results_folder_is_refused(tmp_path):
    stored = stored_plan(tmp_path / "shared")
    other = tmp_path / "other"
    folder_id(other, make=True)
    plan = make_plan(own(results=other).over(stored.request))
    with pytest.raises(UsageError, match="is not the one that study 'night' was opened with"):
        check_agrees(plan, stored)


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
    with pytest.raises(UsageError, match="--study must be a plain file name"):
        make_plan(request(tmp_path / "results", study=name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fields", [{"patience": float("nan")}, {"lease": float("inf")}, {"lease": 0.5}])
def test_a_time_that_is_not_finite_or_too_short_is_refused(tmp_path, fields):
    with pytest.raises(UsageError, match=r"--(patience|lease) must be a finite number of seconds ≥ [01] \(got "):
        request(tmp_path, **fields)


def version_1(results: Path) -> dict[str, object]:
    """A plan as the first version stored it: its names, its order, a field for each."""
    return {
        "version": 1,
        "request": {
            "losses": ["dpo"], "sweep": "beta=0.1,1.0", "suite": "exact", "model": None, "data": None, "protocol": None,
            "trials": None, "seeds": 1, "settings": ["steps=8", "problem.pairs=64"], "sampler": "grid", "processes": 1,
            "loss_files": [], "pruner": "none", "patience": 300.0, "lease": 120.0, "results": str(results),
            "judges": [], "prompts": None, "chat_template": None,
        },
        "identity": {},
        "folder": "0" * 32,
    }  # fmt: skip


def test_a_plan_is_stored_in_the_form_of_version_1(tmp_path):
    storage = open_storage(f"{tmp_path}/posts.log")
    post_plan(make_plan(request(tmp_path)), storage)
    (content,) = posts(storage, "night").values()
    old = version_1(tmp_path)
    assert content.keys() == old.keys()
    assert content["request"] == old["request"]


def test_a_study_of_the_first_version_opens(tmp_path):
    old = version_1(tmp_path)
    del old["request"]["chat_template"]  # it came later
    (stored,) = read_stored_plans({"plan": old}, study="night")
    joined = own(settings=("execution.micro_batch=2",)).over(stored.request)
    assert joined == request(tmp_path, settings=("steps=8", "problem.pairs=64", "execution.micro_batch=2"))


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"request": {"losses": ["dpo"], "colour": "red"}}, {"request": {"sampler": "quantum"}}]
)
def test_a_study_of_a_later_version_is_refused_with_the_version_to_install(tmp_path, changes):
    with pytest.raises(UsageError, match="another version of lossbench") as refused:
        read_stored_plans({"plan": {**version_1(tmp_path), **changes}}, study="night")
    assert "install the version of lossbench that opened the study" in str(refused.value)


def test_a_study_of_an_older_version_that_states_powers_is_read_without_them(tmp_path):
    old = version_1(tmp_path)
    powers = ["execution.watts_per_core=10", "watts_per_gpu = 300"]
    old["request"]["settings"] = [*powers, *old["request"]["settings"]]
    (stored,) = read_stored_plans({"plan": old}, study="night")
    assert not [text for text in stored.request.settings if "watts" in text]
    assert "steps=8" in stored.request.settings
    with pytest.raises(UsageError, match="was removed"):
        make_plan(request(tmp_path, settings=(powers[0],)))


def test_a_storage_by_grpc_is_refused_with_those_that_there_are():
    with pytest.raises(StudyError, match="no longer supported") as refused:
        open_storage("grpc://host:13000")
    assert "postgresql://" in str(refused.value.fix)


def test_a_worker_has_the_options_that_the_request_leaves_to_it():
    options = set(inspect.signature(worker).parameters) - {"max_trials", "idle", "debug"}
    names = {"loss_files": "loss_file", "results": "out", "trackers": "tracker"}
    assert options == {names.get(field, field) for field in fields_where(worker=True)}


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


@pytest.mark.slow
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
