"""What the tests of clusters share: a stand-in for Slurm, a study to be worked on, and waiting."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.runner.cluster.scheduler import FOLDER, install

ROOT = Path(__file__).parents[4]
STUDY = (
    "--loss", "dpo", "--suite", "exact", "--sweep", "beta=0.03,0.1,0.3,1.0", "--seeds", "1", "--study", "night",
    "--set", "steps=60", "--set", "problem.pairs=128", "--set", "execution.checkpoint_every=1",
)  # fmt: skip


def bench(*arguments, env=None, timeout=300):
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    environment = {**(env or os.environ), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


def start_bench(*arguments, env=None):
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    environment = {**(env or os.environ), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for(condition, *, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)
    return found


@pytest.fixture
def slurm(tmp_path):
    """The environment in which the stand-in is found; what still runs at the end is ended by its id."""
    environment = install(tmp_path / "bin", tmp_path / "jobs")
    yield environment
    for path in Path(environment[FOLDER]).glob("*/runner"):
        if not (path.parent / "ended").exists():
            os.killpg(int(path.read_text()), signal.SIGKILL)
