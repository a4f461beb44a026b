"""Who starts the ranks: the command itself, its user by torchrun, or accelerate with a configuration of its own."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.train.distributed.launcher import launch
from bench.train.distributed.rank import main
from bench.train.job import TrainJob, read_inputs, write_job
from tests.bench.cli.test_cli import bench
from tests.bench.train.distributed.many import train_all
from tests.bench.train.distributed.material import ENVIRONMENT, ONE, job, spec_of, trained

CONFIGURATION = """
compute_environment: LOCAL_MACHINE
machine_rank: 0
num_machines: 1
num_processes: 2
main_process_port: 0
mixed_precision: bf16
"""
SHARED = {
    "fsdp2": "distributed_type: FSDP\nfsdp_config: {fsdp_version: 2, fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP}\n",
    "deepspeed": "distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 1, offload_optimizer_device: none}\n",
}


def pair_of(folder: Path, **execution) -> tuple[TrainJob, TrainJob]:
    """The same job for one process, which is done, and for two ranks."""
    spec = spec_of("kto")
    whole = job(folder, spec, results="whole", **ONE.execution)
    train_all([whole])
    return whole, job(folder, spec, processes=2, **execution)


def same(one: TrainJob, other: TrainJob) -> None:
    losses = [trained(each)["curves"]["loss"] for each in (one, other)]
    assert all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5) for a, b in zip(*losses, strict=True))
    weights = [load_file(each.run / "checkpoint" / "model.safetensors") for each in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])


def accelerate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, **ENVIRONMENT, "DS_ACCELERATOR": "cpu"},
    )  # fmt: skip


@pytest.mark.slow
def test_the_line_that_a_manual_launcher_says_finishes_the_run_that_it_waits_for(tmp_path):
    whole, given = pair_of(tmp_path, launcher="manual", shard="fsdp2")
    ranks: list[subprocess.Popen[bytes]] = []

    def do_as_told(text: str) -> None:
        said = shlex.split(text.partition(": ")[2])
        assert said[0] == "torchrun"
        line = [sys.executable, "-m", "torch.distributed.run", "--standalone", *said[1:]]
        ranks.append(subprocess.Popen(line, env={**os.environ, **ENVIRONMENT}))

    steps: list[int] = []
    launch(
        given, report=lambda step, row: steps.append(step), should_stop=lambda: False, inputs=read_inputs, rungs=None,
        note=do_as_told,
    )  # fmt: skip
    assert ranks[0].wait(timeout=60) == 0
    assert steps == list(range(1, given.spec.train.steps + 1))
    same(whole, given)


@pytest.mark.slow
@pytest.mark.parametrize("sharing", SHARED)
def test_accelerates_configuration_decides_how_a_policy_is_shared_and_nothing_else(tmp_path, sharing):
    if sharing == "deepspeed" and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    whole, given = pair_of(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(CONFIGURATION + SHARED[sharing])
    done = accelerate("--config_file", file, "-m", "bench.train", write_job(given))
    assert done.returncode == 0, done.stderr[-3000:]
    assert trained(given)["sharing"] == sharing
    same(whole, given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (["--cpu", "--num_processes", "2"], "", "2 processes were asked for, 1 are running"),
        ([], SHARED["fsdp2"].replace("fsdp_version: 2", "fsdp_version: 1"), "FSDP of version 1.*fsdp_version: 2"),
    ],
    ids=["ranks on a CPU, of which accelerate starts one", "the first FSDP"],
)
def test_what_accelerate_cannot_do_is_refused_before_any_training(tmp_path, arguments, text, message):
    given = job(tmp_path, spec_of("dpo"), processes=2)
    if text:
        (tmp_path / "config.yaml").write_text(CONFIGURATION + text)
        arguments = ["--config_file", str(tmp_path / "config.yaml")]
    done = accelerate(*arguments, "-m", "bench.train", write_job(given))
    assert done.returncode != 0
    assert re.search(message, done.stderr, flags=re.DOTALL)
    assert not given.run.exists()


@pytest.mark.slow
def test_a_sweep_by_sharded_ranks_has_the_table_of_one_by_single_processes(tmp_path):
    few = [
        "run", "--loss", "dpo", "--sweep", "beta=0.03,0.3", "--seeds", "0", "--workers", "1",
        "--set", "steps=4", "--set", "batch=8", "--set", "prompts=8", "--set", "tokens=8",
        "--set", "evaluation.pairs=8", "--set", "lm_eval=[]",
    ]  # fmt: skip
    ranks = ["--processes", "2", "--set", "execution.shard=fsdp2"]
    for folder, extra in (("one", []), ("two", ranks)):
        done = bench(*few, *extra, "--out", tmp_path / folder)
        assert done.returncode == 0, done.stderr[-3000:]
    runs = [{path.name for path in (tmp_path / folder / "runs").iterdir()} for folder in ("one", "two")]
    assert runs[0] == runs[1]
    trainings = [json.loads(path.read_text()) for path in (tmp_path / "two" / "runs").glob("*/train.json")]
    assert [each["sharing"] for each in trainings] == ["fsdp2", "fsdp2"]


def test_a_folder_without_a_job_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "has no job to run" in capsys.readouterr().err


def test_a_world_of_the_wrong_size_is_refused(tmp_path, capsys):
    given = job(tmp_path, spec_of("dpo"), processes=2)
    assert main([str(write_job(given))]) == 1
    assert "2 processes were asked for, 1 are running\n  → start them with torchrun" in capsys.readouterr().err
    assert not given.run.exists()
