"""Workers from one parent: the same weights whoever trained them, no idle cores, no lost points, no orphans."""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.core.results import load_records
from tests.bench.real_sweeps import in_session, wait_for

ROOT = Path(__file__).parents[3]
JOB = {
    "losses": ["dpo", "ipo"], "sweep": "beta=0.03,0.1,0.3,1.0,3.0", "seeds": 2, "workers": 2, "method": "fork",
    "pruner": "none", "settings": ["steps=16", "problem.pairs=128", "execution.log_every=5"],
}  # fmt: skip


def start(out: Path, **changes: object) -> subprocess.Popen[str]:
    job = {**JOB, "out": str(out), **changes}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.runner.pool_driver", json.dumps(job)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> dict:
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-3000:]
    return json.loads(out.splitlines()[-1])


def weights(out: Path) -> dict[str, str]:
    paths = sorted(out.glob("runs/*/checkpoint/*.safetensors"))
    return {path.parent.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def saved(out: Path) -> set[Path]:
    """Unfinished runs that have a whole state."""
    return {path.parent.parent for path in out.glob("work/*/state-*/manifest.json")}


def training(process: subprocess.Popen[str], out: Path) -> list[int]:
    """Wait until two workers train; return their process ids."""

    def both() -> bool:
        assert process.poll() is None, process.communicate()[1][-3000:]
        return len(children(process.pid)) == 2 and len(saved(out)) == 2

    wait_for(both)
    return children(process.pid)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("alone")
    assert finished(start(out, workers=1))["failures"] == []
    return weights(out)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("shared")
    return out, finished(start(out))


def test_two_forked_workers_give_the_weights_of_one_process_to_the_bit(alone, shared):
    assert weights(shared[0]) == alone
    assert len(alone) == 14  # two objectives: five settings and two finals each
    assert len({span["worker"] for span in shared[1]["spans"]}) == 2


@pytest.mark.slow
def test_two_spawned_workers_give_the_weights_of_one_process_to_the_bit(alone, tmp_path):
    finished(start(tmp_path, method="spawn", losses=["ipo"], seeds=1))
    found = weights(tmp_path)
    assert len(found) == 6
    assert found.items() <= alone.items()


def test_no_worker_waits_longer_than_one_piece_of_work_and_only_at_the_end(shared):
    spans = sorted(shared[1]["spans"], key=lambda span: span["started"])
    longest = max(span["ended"] - span["started"] for span in spans)
    last = max(span["ended"] for span in spans)
    for worker in {span["worker"] for span in spans}:
        own = [span for span in spans if span["worker"] == worker]
        # A pause of the loop may lie between two pieces, and what a busy machine adds to it.
        assert max(b["started"] - a["ended"] for a, b in itertools.pairwise(own)) < longest + 0.5
        assert last - own[-1]["ended"] <= longest + 0.5


def test_every_trial_is_trained_once(shared):
    lines = [
        json.loads(line) for path in shared[0].glob("studies/*/journal.log") for line in path.read_text().splitlines()
    ]
    outcomes = [line["user_attr"]["outcome"] for line in lines if "outcome" in line.get("user_attr", {})]
    assert [one["status"] for one in outcomes if one["status"] != "withdrawn"] == ["completed"] * 10


@pytest.mark.parametrize("kind", ["a worker", pytest.param("the parent", marks=pytest.mark.slow)])
def test_what_a_kill_left_undone_is_done_by_another(alone, tmp_path, kind):
    slow = [*JOB["settings"], "execution.checkpoint_every=1", "execution.log_every=1"]
    process = start(tmp_path, settings=slow)
    workers = training(process, tmp_path)
    if kind == "a worker":
        os.kill(workers[0], signal.SIGKILL)
        finished(process)
    else:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        wait_for(lambda: not in_session(process.pid), seconds=10)
        finished(start(tmp_path, settings=slow))
    assert weights(tmp_path) == alone
    assert len(load_records(tmp_path)) == 16  # and the start model on both splits


@pytest.mark.parametrize("whom", ["the parent alone", "the whole group, as a terminal does"])
def test_ctrl_c_ends_every_worker_within_ten_seconds(tmp_path, whom):
    settings = ["steps=4000", "problem.pairs=256", "execution.checkpoint_every=5"]
    process = start(tmp_path, settings=settings)
    training(process, tmp_path)
    started = time.monotonic()
    if whom == "the parent alone":
        process.send_signal(signal.SIGINT)
    else:
        os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    wait_for(lambda: not in_session(process.pid), seconds=10)
    assert time.monotonic() - started < 10
    assert process.returncode != 0
    # Both were in the middle of a training, and left what resuming needs.
    assert len(saved(tmp_path)) == 2
    assert not list(tmp_path.glob("runs/*/checkpoint"))


def test_what_a_worker_cannot_do_is_told_as_its_own_error(tmp_path):
    process = start(tmp_path, settings=[*JOB["settings"], "evaluation.temperature=0.5"])
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "UsageError: evaluation.temperature=0.5: an exact evaluation is of the policy itself" in error
    assert not in_session(process.pid)
