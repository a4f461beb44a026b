"""A sweep that was interrupted or killed: the same command finishes what is missing, and the tables are the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.cli.test_cli import bench

COMMAND = [
    "run", "--loss", "dpo", "--sweep", "beta=0.03,0.1,0.3", "--seeds", "1",
    "--set", "steps=12", "--set", "batch=8", "--set", "prompts=12", "--set", "tokens=10",
    "--set", "evaluation.pairs=8", "--set", "lm_eval=[]", "--set", "checkpoint_every=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    done = bench(*COMMAND, "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return tables(out)


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("leaderboard.csv", "leaderboard.md")}


def started_until(out: Path, ready: str) -> subprocess.Popen[bytes]:
    """Start the command and wait until a file that fits ``ready`` is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *COMMAND, "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "2"},  # as bench(): another number of threads adds in another order
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not list(out.glob(ready)):
        assert process.poll() is None, process.stderr.read().decode()[-3000:] if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


TRAINING, BETWEEN = "work/*/state-*/manifest.json", "runs/*/checkpoint"
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "ready"),
    [
        pytest.param(signal.SIGKILL, TRAINING, id="killed in training"),
        pytest.param(signal.SIGINT, TRAINING, id="interrupted in training", marks=SLOW),
        pytest.param(signal.SIGKILL, BETWEEN, id="killed between runs", marks=SLOW),
        pytest.param(signal.SIGINT, BETWEEN, id="interrupted between runs", marks=SLOW),
        pytest.param(signal.SIGTERM, TRAINING, id="terminated in training", marks=SLOW),
    ],
)
def test_the_same_command_finishes_only_what_is_missing(tmp_path, uninterrupted, kind, ready):
    process = started_until(tmp_path, ready)
    process.send_signal(kind)
    process.wait(timeout=10)
    assert process.returncode != 0
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/manifest.json")}
    assert bench("verify", "--out", tmp_path).returncode == 0
    done = bench(*COMMAND, "--out", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert tables(tmp_path) == uninterrupted


@pytest.mark.slow
def test_two_workers_share_a_sweep_and_train_nothing_twice(tmp_path, uninterrupted):
    done = bench(*COMMAND, "--workers", "2", "--out", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("runs/*/checkpoint"))) == 4
    assert tables(tmp_path) == uninterrupted
