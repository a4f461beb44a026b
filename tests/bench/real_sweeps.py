"""Two real sweeps that tests of several packages look at: one that went well, and one that was killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.runner.status.overview import Overview, overview

SECRET = "open-sesame/4711"
SWEEP = [
    "run", "--suite", "exact", "--loss", "dpo", "--sweep", "beta=0.1,0.3,1.0", "--seeds", "1", "--workers", "2",
    "--set", "problem.pairs=128",
]  # fmt: skip
LONG = [*SWEEP, "--set", "steps=200", "--set", "checkpoint_every=20"]


def in_session(session: int) -> list[int]:
    """Living processes of a session: what a command started, whoever their parent is now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def wait_for(condition, *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def started(*arguments: str, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments, "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "140", "SESAME_TOKEN": SECRET},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    said, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-3000:]
    return said


@dataclass(frozen=True)
class Killed:
    """A sweep that was killed in training: how it looked before, after, and when the same command had finished it."""

    out: Path
    running: Overview
    killed: Overview
    text: str
    finished: Overview


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    finish(started(*SWEEP, "--set", "steps=12", "--study", SECRET.replace("/", "-") + "-night", out=out))
    return out


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    out = tmp_path_factory.mktemp("killed")
    process = started(*LONG, out=out)
    deadline = time.monotonic() + 120
    running = None
    try:
        while running is None or not any(one.saved and one.tokens_per_second for one in running.trainings):
            assert process.poll() is None, process.communicate()[1][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
            running = overview(out)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    wait_for(lambda: not in_session(process.pid))
    after = overview(out)
    text = subprocess.run(
        [sys.executable, "-m", "bench", "status", "--out", str(out)],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "140"},
    ).stdout  # fmt: skip
    finish(started(*LONG, out=out))
    return Killed(out=out, running=running, killed=after, text=text, finished=overview(out))
