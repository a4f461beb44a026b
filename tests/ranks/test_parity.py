"""Two real gloo ranks under torchrun against one process."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.data.table import write_encoded
from bench.job import TrainJob, run_job, write_job
from bench.spec import Execution
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_reference, tiny_spec
from tests.bench.tiny_tokenizer import tiny_tokenizer


def job(folder: Path, objective: str, processes: int) -> TrainJob:
    data, spec, start = tiny_pairs(), tiny_spec(objective, learning_rate=1e-3), tiny_model()
    model = folder / "model"
    start.save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    (folder / "data").mkdir()
    write_encoded(data, folder / "data")
    tiny_reference(start, data, spec, folder / "reference")
    return TrainJob(
        spec=spec, execution=Execution(processes=processes, micro_batch=4, device="cpu"), model=model,
        data=folder / "data", references=tuple((folder / "reference").iterdir()), results=folder / "results",
    )  # fmt: skip


def torchrun(work: Path, ranks: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "bench.job", str(work)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


def trained(finished: TrainJob) -> dict:
    return json.loads((finished.run / "train.json").read_text())


@pytest.mark.parametrize("objective", ["dpo", "ipo", "simpo", "kto", "aot", "bco_pair_shift"])
def test_two_ranks_give_the_losses_of_one_process(tmp_path, objective):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    single = job(tmp_path / "one", objective, 1)
    run_job(single, report=lambda step, row: None, should_stop=lambda: False)
    double = job(tmp_path / "two", objective, 2)
    done = torchrun(write_job(double), 2)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = trained(single), trained(double)
    assert two["world_size"] == 2
    assert one["tokens"] == two["tokens"]
    for name in ("loss", "margin", "grad_norm"):
        for a, b in zip(one["curves"][name], two["curves"][name], strict=True):
            assert math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5), name


def test_a_world_of_the_wrong_size_is_refused(tmp_path):
    wanted = job(tmp_path, "dpo", 2)
    done = torchrun(write_job(wanted), 1)
    assert done.returncode == 1
    assert "2 processes were asked for, 1 are running" in done.stderr
    assert not wanted.run.exists()
