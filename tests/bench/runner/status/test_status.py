"""What ``bench status`` says of real sweeps: finished, running, killed, damaged. It never writes, and is quick."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from bench.cli.status import status
from bench.core.results import load_records
from bench.errors import UsageError
from bench.runner.status.overview import Overview, overview, time_left
from bench.runner.status.show import clock, render_status, size
from bench.runner.status.studies import Study, read_studies
from bench.runner.status.trainings import read_trainings
from sweeps.outcome import Outcome
from sweeps.study import open_study
from sweeps.worker import run_trials
from tests.bench.cli.test_cli import bench
from tests.bench.real_sweeps import Killed
from tests.postgres import Postgres, running_postgres


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def said(found: Overview, *, verbose: bool = False) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(render_status(found, verbose=verbose))
    return " ".join(console.file.getvalue().split())


def test_a_finished_sweep_is_told_with_its_best_setting(whole):
    found = overview(whole)
    (study,) = found.studies
    assert (study.settled, study.total, study.counts) == (3, 3, {"completed": 3})
    tried = [record for record in load_records(whole) if record.evaluation.split == "validation"]
    best = max((r for r in tried if r.spec.objective == "dpo"), key=lambda r: r.metric("target").value)
    assert study.best.value == pytest.approx(best.metric("target").value)
    assert study.best.params == {"beta": best.spec.params["beta"]}
    assert study.protocol["hash"] == best.protocol
    assert found.workers == found.trainings == found.problems == ()
    assert (found.runs, found.records) == (5, 6)
    assert sum(found.disk.values()) == sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())


def test_a_running_sweep_tells_who_is_at_which_step_how_fast_and_how_long_yet(killed: Killed):
    found = killed.running
    (study,) = found.studies
    assert study.counts["running"] in (1, 2)
    at_work = [one for one in found.trainings if one.state == "at work"]
    assert at_work
    for one in at_work:
        assert 0 <= one.step <= one.steps == 200
    fast = next(one for one in at_work if one.saved and one.tokens_per_second)
    assert fast.loss > 0
    assert fast.saved % 20 == 0 < fast.saved
    workers = [worker for worker in found.workers if not worker.stale]
    assert len(workers) in (1, 2)
    assert all("trial" in worker.at or "seed" in worker.at for worker in workers)


def test_a_killed_sweep_tells_which_workers_are_gone_and_where_each_training_goes_on(killed: Killed):
    found = killed.killed
    assert found.workers
    assert all(worker.stale for worker in found.workers)
    left = [one for one in found.trainings if one.phase != "starting"]
    assert {one.state for one in left} == {"left"}
    assert found.seconds_left is None
    assert "gone or silent" in killed.text
    assert "goes on from step" in killed.text
    assert "nobody is at work" in killed.text


def test_the_same_command_leaves_nothing_unfinished(killed: Killed):
    found = killed.finished
    (study,) = found.studies
    assert (study.settled, study.total) == (3, 3)
    assert study.running == ()
    assert found.trainings == found.problems == ()


def test_it_writes_nothing_and_loads_neither_torch_nor_transformers(whole):
    before = tree(whole)
    probe = (
        f"import sys\nsys.argv = ['bench', 'status', '--out', {str(whole)!r}]\nfrom bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "every setting has a result" in done.stdout
    assert tree(whole) == before


def test_a_folder_that_may_only_be_read_is_shown(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert overview(tmp_path / "copy").studies[0].settled == 3


def test_five_hundred_runs_take_less_than_a_second(whole, tmp_path):
    run = next(path.parent for path in whole.glob("runs/*/checkpoint"))
    for number in range(500):
        shutil.copytree(run, tmp_path / "runs" / f"{number:016x}", copy_function=os.link)
    shutil.copytree(whole / "studies", tmp_path / "studies")
    begun = os.times()
    done = bench("status", "--out", tmp_path)
    ended = os.times()
    assert "500 finished runs" in done.stdout, done.stderr
    used = ended.children_user + ended.children_system - begun.children_user - begun.children_system
    assert used < 1.5  # of CPU time, since a busy machine must not fail the test; 0.5 s measured


def test_json_holds_what_the_tables_say(whole):
    found = json.loads(bench("status", "--out", whole, "--json").stdout)
    assert found["studies"][0]["counts"] == {"completed": 3}
    assert found["runs"] == 5
    assert found["problems"] == []


def test_watching_ends_with_ctrl_c_and_exit_code_0(whole):
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "status", "--out", str(whole), "--watch", "--every", "0.2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: __import__("signal").signal(2, __import__("signal").default_int_handler),
    )  # fmt: skip
    time.sleep(3)
    assert process.poll() is None
    process.send_signal(2)
    said, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    assert "every setting has a result" in said


def damaged(whole: Path, to: Path) -> Path:
    return Path(shutil.copytree(whole, to))


def test_a_broken_line_of_a_journal_is_told_and_what_stands_before_it_is_shown(whole, tmp_path):
    out = damaged(whole, tmp_path / "out")
    (journal,) = out.glob("studies/*-dpo/journal.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + b'{"op_code": 4, "work\n' + b"".join(lines[4:]))
    found = overview(out)
    assert len(found.studies) == 1
    assert "line 5 is no JSON" in found.problems[0]
    assert "line 5 is no JSON" in said(found)


def test_a_half_written_last_line_is_no_damage(whole, tmp_path):
    out = damaged(whole, tmp_path / "out")
    (journal,) = out.glob("studies/*-dpo/journal.log")
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "work')
    assert overview(out).problems == ()


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n", b"[]\n", b'{"op_code": 99}\n'])
def test_a_journal_that_is_none_is_told(whole, tmp_path, content):
    out = damaged(whole, tmp_path / "out")
    (out / "studies" / "other").mkdir()
    (out / "studies" / "other" / "journal.log").write_bytes(content)
    found = overview(out)
    assert len(found.studies) == 1
    assert len(found.problems) == (content != b"")


def test_missing_and_shortened_files_of_runs_are_told(whole, tmp_path):
    out = damaged(whole, tmp_path / "out")
    first, second, third, *_ = sorted(path.parent.parent for path in out.glob("runs/*/checkpoint/config.json"))
    (first / "train.json").unlink()
    (second / "manifest.json").write_text("{")
    (third / "checkpoint" / "config.json").write_text("{}")
    found = " ".join(overview(out).problems)
    assert "train.json: is missing" in found
    assert f"{second.name}/manifest.json: is damaged" in found
    assert "config.json: is missing or not as long as it was written" in found


@pytest.mark.parametrize("name", ["training.json", "progress.jsonl"])
def test_a_broken_work_folder_is_told_and_the_others_are_shown(tmp_path, name):
    spec = {"objective": "dpo", "params": {"beta": 0.1}, "seed": 0, "train": {"steps": 9}}
    for run in ("a", "b"):
        (tmp_path / "work" / run).mkdir(parents=True)
        (tmp_path / "work" / run / "training.json").write_text(json.dumps({"spec": spec, "started": 1.0}))
        (tmp_path / "work" / run / "progress.jsonl").write_text('{"step": 3.0, "loss": 0.5}\n{"step": 4.0, "lo')
    (tmp_path / "work" / "a" / name).write_text("{\n")
    (tmp_path / "work" / "lease-alone").mkdir()
    trainings, problems = read_trainings(tmp_path, now=2.0)
    assert [(one.run, one.step, one.loss) for one in trainings] == [("b", 3, 0.5)]
    assert len(problems) == 1


def failing(params: dict[str, float], number: int) -> Outcome:
    if params["beta"] < 0.5:
        raise ValueError("the first line, at a://b:pa55w0rd@c\nthe second line")
    return Outcome(status="completed", target=params["beta"], run_key="k", error=None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgres"])
def test_a_study_elsewhere_is_read_and_failures_are_told(tmp_path, kind, request):
    storage = str(tmp_path / "s.log") if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    storage = request.getfixturevalue("postgres").url if kind == "postgres" else storage
    points = [{"beta": 0.1}, {"beta": 1.0}, {"beta": 3.0}]
    study = open_study("night-dpo", storage=storage, sampler="grid", seed=0, points=points)
    run_trials(study, evaluate=failing, points=points)
    before = tree(tmp_path)
    found = overview(tmp_path, storage=storage, study="night")
    text = said(found)
    assert "2 completed, 1 failed" in text
    assert "3 at beta=3" in text
    assert "ValueError: the first line, at a://b:***@c" in text
    assert "the second line" not in text
    assert "the second line" in said(found, verbose=True)
    assert "no study here" in said(overview(tmp_path, storage=storage, study="day"))
    assert {name: then for name, then in tree(tmp_path).items() if not name.endswith("s.db")} == {
        name: then for name, then in before.items() if not name.endswith("s.db")
    }


def test_a_retried_setting_is_told_by_its_result(tmp_path):
    points = [{"beta": 0.1}]
    storage = str(tmp_path / "studies" / "s" / "journal.log")
    study = open_study("s", storage=storage, sampler="grid", seed=0, points=points)
    run_trials(study, evaluate=failing, points=points)
    assert overview(tmp_path).studies[0].counts == {"failed": 1}
    again = lambda params, number: Outcome(status="completed", target=1.0, run_key="k", error=None)  # noqa: E731
    run_trials(study, evaluate=again, points=points)
    assert overview(tmp_path).studies[0].counts == {"completed": 1}
    assert overview(tmp_path).studies[0].failures == ()


def test_a_worker_of_another_host_is_stale_once_it_is_silent(tmp_path):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "studies.log"))
    )  # fmt: skip
    study = optuna.create_study(study_name="s", storage=storage)
    attributes = {"slot": "0", "worker": "far/boot/1:4:5", "beat": 1000.0, "token": "t"}
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs=attributes))
    for now, stale in ((1060.0, False), (1200.0, True)):
        (found,), _ = read_studies(tmp_path, storage=str(tmp_path / "studies.log"), study=None, now=now)
        assert found.running[0].stale == stale


@pytest.mark.parametrize("storage", ["sqlite:////nowhere/s.db", "postgresql://anna:pa55w0rd@127.0.0.1:1/s", "what"])
def test_a_storage_that_does_not_open_is_told_without_its_password(tmp_path, storage):
    text = said(overview(tmp_path, storage=storage))
    assert "cannot be read" in text
    assert "pa55w0rd" not in text
    assert list(tmp_path.iterdir()) == []


def test_time_left_is_what_settled_trials_took_for_each_that_is_missing():
    def study(settled: int, total: int, seconds: float | None) -> Study:
        return Study(
            name="s", storage="", protocol={"seeds": [0, 1], "final_seeds": [5]}, total=total,
            counts={"completed": settled}, best=None, running=(), failures=(), withdrawn=0, trial_seconds=seconds,
        )  # fmt: skip

    assert time_left([study(2, 5, 10.0), study(0, 2, None)], workers=2, now=0.0) == (25.0, 5.0)
    assert time_left([study(5, 5, 10.0)], workers=1, now=0.0) == (0.0, 0.0)
    assert time_left([study(2, 5, 10.0)], workers=0, now=0.0) == (None, None)
    assert time_left([study(0, 5, None)], workers=2, now=0.0) == (None, None)
    # Before anything is settled: by how far the trainings have come, both seeds of each setting.
    assert time_left([study(0, 5, None)], workers=2, now=0.0, run_seconds=3.0) == (15.0, 1.5)


def test_bad_requests_are_refused(tmp_path):
    for folder, changes, text in (
        (tmp_path / "none", {}, "no results folder"),
        (tmp_path, {"watch": True, "as_json": True}, "--watch does not go with"),
        (tmp_path, {"price": 2.0}, "--price 2 needs --cost"),
    ):
        with pytest.raises(UsageError, match=text):
            status(folder, **changes)


def test_an_empty_folder_is_no_fault(tmp_path):
    assert "no study here" in said(overview(tmp_path))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (41.4, "41 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (-1, "0 s")]
)
def test_times_are_told_in_words(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (41_230_000, "41.2 MB"), (2e15, "2000.0 TB")])
def test_sizes_are_told_in_words(count, text):
    assert size(count) == text
