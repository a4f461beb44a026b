"""Sweeps whose storage goes away, from the command line: no setting lost, none trained twice."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.core.results import load_records
from sweeps.storage import open_storage
from tests.postgres import running_postgres

ROOT = Path(__file__).parents[3]
SWEEP = [
    "--loss", "dpo", "--suite", "exact", "--sweep", "beta=0.03,0.1,0.3,1.0", "--seeds", "1", "--workers", "2",
    "--set", "steps=60", "--set", "problem.pairs=128", "--pruner", "median",
]  # fmt: skip


@contextmanager
def proxied(folder: Path) -> Iterator[tuple[str, object, object]]:
    """Optuna's gRPC server before SQLite: its URL, and functions that end and start it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running: list[subprocess.Popen] = []

    def start() -> None:
        command = [sys.executable, "-m", "tests.sweeps.proxy_server", f"sqlite:///{folder}/behind.db", str(port)]
        running.append(subprocess.Popen(command, cwd=ROOT))

    def end() -> None:
        running[-1].kill()
        running[-1].wait()

    start()
    try:
        yield f"grpc://127.0.0.1:{port}", end, start
    finally:
        end()


@contextmanager
def databased(_folder: Path) -> Iterator[tuple[str, object, object]]:
    with running_postgres() as server:
        yield server.url, lambda: server.stop("immediate"), server.start


@pytest.mark.slow
@pytest.mark.parametrize("kind", [databased, proxied])
def test_a_sweep_outlives_its_storage(tmp_path, kind):
    out = tmp_path / "results"
    with kind(tmp_path) as (url, end, start):
        run = subprocess.Popen(
            [sys.executable, "-m", "bench", "run", *SWEEP, "--out", str(out)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "LOSSBENCH_STORAGE": url},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for count in (1, 3):
            deadline = time.monotonic() + 240
            while len(list(out.glob("runs/*/train.json"))) < count:
                assert run.poll() is None, run.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            end()
            time.sleep(4)
            start()
        said, error = run.communicate(timeout=400)
        assert run.returncode == 0, error
        assert "Traceback" not in error
        assert "failed" not in said
        opened = open_storage(url)
        (study,) = opened.get_all_studies()
        trials = opened.get_all_trials(study._study_id)
    assert [trial.state.name for trial in trials].count("RUNNING") == 0
    ended = [trial.params["beta"] for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert sorted(ended) == [0.03, 0.1, 0.3, 1.0]
    assert len(load_records(out)) == 7
