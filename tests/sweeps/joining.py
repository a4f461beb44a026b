"""Starting real worker processes on a storage, and reading what they did."""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
POINTS = [{"beta": round(0.1 * (index + 1), 1)} for index in range(8)]
JOB = {
    "points": POINTS, "trials": None, "sampler": "grid", "seconds": 0.02, "crash": None, "hold": None, "go": "",
    "lease": 60.0, "patience": 60.0,
}  # fmt: skip


def start_worker(storage, log, **changes):
    """Start a process that joins the study; ``changes`` to ``JOB``."""
    job = {**JOB, "storage": storage, "log": str(log), **changes}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.joiner", json.dumps(job)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def results_of(worker):
    out, error = worker.communicate(timeout=60)
    assert worker.returncode == 0, error
    assert error == "", error
    return json.loads(out)


def evaluations(tmp_path, what):
    path = tmp_path / "evaluations"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line.rsplit(" ", 1)[0].split(" ", 1)[1])["beta"] for line in lines if line.startswith(what)]


def wait_for(condition, *, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)
