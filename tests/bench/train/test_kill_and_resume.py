"""A training that is killed again and again, and goes on in a fresh process each time, is the one that was not."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from bench.models.matmul import ROUTE
from bench.train.job import TrainJob, write_job
from tests.bench.train.distributed.material import command, job, spec_of, trained

ROUTES = {
    "none": {ROUTE: "none"},
    "bf16": {ROUTE: "bf16", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},  # without AMX oneDNN stays float32
}
PATIENCE_SECONDS = 300.0
STEPS_A_KILL = 25


def saved(work: TrainJob) -> int:
    """The step of the newest whole state; 0 where there is none."""
    return max(
        (int(path.parent.name.removeprefix("state-")) for path in work.work.glob("state-*/manifest.json")), default=0
    )


def started(work: TrainJob, route: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("bench.train", [write_job(work)], ranks=1),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **ROUTES[route]},
    )  # fmt: skip


def killed_after_a_new_state(work: TrainJob, route: str) -> None:
    before, process = saved(work), started(work, route)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while saved(work) <= before:
        assert process.poll() is None, process.stderr.read().decode()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def finish(work: TrainJob, route: str) -> None:
    _, error = (process := started(work, route)).communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, error.decode()[-3000:]


def weights(work: TrainJob) -> torch.Tensor:
    (path,) = [*work.run.glob("checkpoint/*.safetensors"), *work.run.glob("adapter/*.safetensors")]
    return torch.cat([each.flatten() for _, each in sorted(load_file(path).items())])


CASES = (
    pytest.param("dpo", {}, 3, id="dpo, killed three times"),
    pytest.param("dpo", {}, 20, id="dpo, killed twenty times", marks=pytest.mark.slow),
    pytest.param("kto", {"lora": 0.1}, 20, id="kto, LoRA with dropout, killed twenty times", marks=pytest.mark.slow),
)


@pytest.mark.skipif(sys.platform != "linux", reason="the routes are Linux's")
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("objective", "changes", "kills"), CASES)
def test_its_weights_are_those_of_the_uninterrupted_one_to_the_bit(tmp_path, objective, changes, kills, route):
    spec = spec_of(objective, steps=STEPS_A_KILL * kills, **changes)
    whole, parts = (job(tmp_path, spec, results=name, checkpoint_every=1) for name in ("whole", "parts"))
    finish(whole, route)
    for _ in range(kills):
        killed_after_a_new_state(parts, route)
    finish(parts, route)
    assert float((weights(parts) - weights(whole)).abs().max()) == 0.0
    assert trained(parts)["curves"] == trained(whole)["curves"]
