"""Scripts for Slurm, really run by a stand-in for it: preempted, requeued, on many nodes; the sweep comes out whole."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.core.results import load_records
from bench.errors import UsageError
from bench.runner.cluster.slurm import Resources, training_script, worker_script
from bench.runner.cluster.submit import WorkerTask, submit_tasks
from bench.train.distributed.torchrun import torchrun
from tests.bench.runner.cluster.conftest import STUDY, bench, wait_for
from tests.bench.runner.cluster.scheduler import FOLDER, options_of


def submitted(script: Path, slurm: dict[str, str], **variables: str) -> Path:
    """Submit a script; return the folder of its job."""
    done = subprocess.run(
        ["sbatch", str(script)], env={**slurm, **variables, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Path(slurm[FOLDER]) / done.stdout.split()[-1]


WORK = """
import pathlib, signal, sys, time
def stop(number, frame):
    pathlib.Path("{folder}/saved").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
if not pathlib.Path("{folder}/saved").exists():
    pathlib.Path("{folder}/started").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize("requeue", [True, False])
def test_a_preempted_script_waits_for_its_work_to_save_and_comes_back_where_it_may(tmp_path, slurm, requeue):
    program = tmp_path / "work.py"
    program.write_text(WORK.format(folder=tmp_path))
    (tmp_path / "slurm").mkdir()
    text = worker_script("night", tmp_path, Resources(requeue=requeue), array=1, storage=False)
    (tmp_path / "script").write_text(
        re.sub(r"^\S+python\S* -m bench worker .*&$", f"{sys.executable} {program} &", text, flags=re.M)
    )
    job = submitted(tmp_path / "script", slurm)
    wait_for((tmp_path / "started").exists)
    (job / "preempt-0").touch()
    wait_for((job / "ended").exists)
    assert json.loads((job / "ended").read_text())["0"] == ([130, 0] if requeue else [130])
    assert (tmp_path / "saved").exists()


@pytest.mark.slow
def test_a_sweep_by_array_jobs_comes_out_whole_although_one_is_preempted(tmp_path, slurm):
    out, storage = tmp_path / "results", f"sqlite:///{tmp_path}/studies.db"
    assert bench("run", *STUDY, "--out", out, "--storage", storage, "--open").returncode == 0
    done = bench("launch", "--slurm", "--study", "night", "--out", out, "--storage", storage, "--array", 2)
    assert done.returncode == 0, done.stderr
    script = out / "slurm" / "night.sbatch"
    assert storage not in script.read_text()
    job = submitted(script, slurm, LOSSBENCH_STORAGE=storage)
    wait_for(lambda: list(out.glob("work/*/state-*/manifest.json")))
    (job / "preempt-0").touch()
    wait_for((job / "ended").exists)
    codes = json.loads((job / "ended").read_text())
    assert codes["1"] == [0]
    assert codes["0"] in ([130, 0], [143, 0]), (out / "slurm").glob("*.log")

    done = bench("run", *STUDY, "--out", out, "--storage", storage)
    assert done.returncode == 0, done.stderr
    # Four settings, the final, and the start model on both splits; nothing twice.
    assert len(load_records(out)) == 7
    assert len(list(out.glob("runs/*/checkpoint"))) == 5


def test_the_script_asks_for_what_was_given_and_names_no_storage(tmp_path):
    resources = Resources(nodes=2, partition="gpu", time="1-04:00:00", cpus=8, gpus=4, memory="32G", account="me")
    text = worker_script("night", tmp_path, resources, array=16, storage=True, setup=("module load cuda",))
    path = tmp_path / "script"
    path.write_text(text)
    assert options_of(path) == {
        "job-name": "bench-night", "array": "0-15", "nodes": "2", "ntasks-per-node": "1", "partition": "gpu",
        "account": "me", "time": "1-04:00:00", "cpus-per-task": "8", "gpus-per-node": "4", "mem": "32G",
        "signal": "B:TERM@60", "open-mode": "append", "requeue": "", "output": f"{tmp_path}/slurm/night-%A_%a.log",
    }  # fmt: skip
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "LOSSBENCH_STORAGE: the storage of study night" in done.stderr


@pytest.mark.parametrize(
    "given", [{"partition": "gpu\n#SBATCH --evil"}, {"time": "soon"}, {"memory": "lots"}, {"account": "a b"}]
)
def test_what_slurm_does_not_take_is_refused(given):
    with pytest.raises(UsageError, match="must have a form that Slurm takes"):
        Resources(**given)


def test_a_folder_with_a_blank_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no path with a blank"):
        worker_script("night", tmp_path / "my results", Resources(), array=1, storage=False)


def test_ranks_are_shared_by_the_nodes_of_a_slurm_job(tmp_path):
    environment = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "40123", "SLURMD_NODENAME": "n7"}
    command = torchrun(8, tmp_path, environment)
    assert command[0] == "srun"
    assert {"--nnodes=2", "--nproc_per_node=4", "--rdzv_id=40123", "--rdzv_endpoint=n7:20123"} < set(command)
    assert "srun" not in torchrun(8, tmp_path, {})
    with pytest.raises(UsageError, match="cannot be shared by 3 nodes"):
        training_script(tmp_path, Resources(nodes=3), processes=8)


@pytest.mark.slow
def test_a_training_on_two_nodes_is_stopped_requeued_and_finished(tmp_path, slurm):
    study = ["--loss", "dpo", "--suite", "exact", "--seeds", "0", "--set", "problem.pairs=128", "--set", "steps=400"]
    study += ["--set", "execution.checkpoint_every=1", "--processes", "2", "--study", "wide"]
    out = tmp_path / "results"
    assert bench("run", *study, "--out", out, "--open").returncode == 0
    done = bench("launch", "--slurm", "--study", "wide", "--out", out, "--array", 1, "--nodes", 2)
    assert done.returncode == 0, done.stderr
    job = submitted(out / "slurm" / "wide.sbatch", slurm)
    wait_for(lambda: list(out.glob("work/*/state-*/manifest.json")), seconds=240)
    (job / "preempt-0").touch()
    wait_for((job / "ended").exists, seconds=400)
    codes = json.loads((job / "ended").read_text())
    assert len(codes["0"]) == 2
    assert codes["0"][-1] == 0
    (trained,) = out.glob("runs/*/train.json")
    assert json.loads(trained.read_text(encoding="utf-8"))["world_size"] == 2


def test_submitit_runs_workers_here_where_there_is_no_slurm(tmp_path):
    program = tmp_path / "work.py"
    program.write_text(f"import os, pathlib\npathlib.Path('{tmp_path}', f'ran-{{os.getpid()}}').touch()\n")
    tasks = [WorkerTask((sys.executable, str(program))) for _ in range(2)]
    jobs = submit_tasks(tasks, tmp_path, Resources(cpus=1, time="00:10:00"), name="night", setup=(), cluster="local")
    assert [job.result() for job in jobs] == [0, 0]
    assert len(list(tmp_path.glob("ran-*"))) == 2
    with pytest.raises(UsageError, match="is unknown"):
        submit_tasks(tasks, tmp_path, Resources(), name="night", setup=(), cluster="moon")


def test_a_preempted_task_of_submitit_stops_its_worker_and_is_submitted_again(tmp_path):
    program = tmp_path / "work.py"
    program.write_text(WORK.format(folder=tmp_path))
    task = WorkerTask((sys.executable, str(program)))
    thread = threading.Thread(target=task)
    thread.start()
    wait_for((tmp_path / "started").exists)
    # Slurm sends submitit's own signal to every process of the job, the worker's too.
    assert task.process is not None
    task.process.send_signal(signal.SIGUSR2)
    time.sleep(0.5)
    assert task.process.poll() is None
    again = task.checkpoint()
    thread.join()
    assert (tmp_path / "saved").exists()
    assert again.result() == 0
