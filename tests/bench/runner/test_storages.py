"""Sweeps whose storage goes away, from the command line: no setting lost, none trained twice."""

import os
import subprocess
import sys
import time
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


@pytest.mark.slow
def test_a_sweep_outlives_its_database(tmp_path):
    out = tmp_path / "results"
    with running_postgres() as server:
        run = subprocess.Popen(
            [sys.executable, "-m", "bench", "run", *SWEEP, "--out", str(out)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "LOSSBENCH_STORAGE": server.url},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for count in (1, 3):
            deadline = time.monotonic() + 240
            while len(list(out.glob("runs/*/train.json"))) < count:
                assert run.poll() is None, run.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server.stop("immediate")
            time.sleep(4)
            server.start()
        said, error = run.communicate(timeout=400)
        assert run.returncode == 0, error
        assert "Traceback" not in error
        assert "failed" not in said
        opened = open_storage(server.url)
        (study,) = opened.get_all_studies()
        trials = opened.get_all_trials(study._study_id)
    assert [trial.state.name for trial in trials].count("RUNNING") == 0
    ended = [trial.params["beta"] for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert sorted(ended) == [0.03, 0.1, 0.3, 1.0]
    assert len(load_records(out)) == 7
