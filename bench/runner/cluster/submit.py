"""Launch on a cluster: the scripts written, or the workers submitted by submitit."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.runner.cluster.slurm import STOP_SECONDS, Resources, training_script, worker_script
from bench.utils.environment import STORAGE
from bench.utils.files import write_text_whole
from bench.utils.stop_signals import STOPPED

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

CLUSTERS = ("slurm", "local")
PREEMPT_SIGNAL = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
"""Signal by which Slurm tells submitit of the end. It reaches every process of the job, and would end the worker."""
DAY_MINUTES = 24 * 60


@dataclass
class WorkerTask:
    """A worker in a process of its own, which submitit runs, stops at preemption and submits again."""

    command: tuple[str, ...]
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def __call__(self) -> int:
        """Run the worker; return its exit code. Raises RuntimeError where it failed."""
        self.process = subprocess.Popen(("sh", "-c", f'trap "" {PREEMPT_SIGNAL}; exec "$@"', "sh", *self.command))
        code = self.process.wait()
        if code not in (0, STOPPED):
            raise RuntimeError(f"the worker ended with {code}")
        return code

    def checkpoint(self) -> "DelayedSubmission":
        """Have the worker save its state; return what submitit submits in this task's place."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=STOP_SECONDS)
        return DelayedSubmission(WorkerTask(self.command))


def launch_workers(
    study: str,
    results: Path,
    resources: Resources,
    *,
    array: int,
    storage: str | None,
    setup: tuple[str, ...],
    options: tuple[str, ...],
    submit: bool,
    cluster: str,
) -> list[str]:
    """Write the script of an array of workers, or submit them. Returns lines for the terminal.

    Raises:
        UsageError: a name, a resource or a cluster that is none, or submitit is not installed.
    """
    from bench.core.request import check_study_name

    check_study_name(study)
    results = results.absolute()
    text = worker_script(
        study, results, resources, array=array, storage=storage is not None, setup=setup, options=options
    )
    path = results / "slurm" / f"{study}.sbatch"
    write_text_whole(path, text)
    if not submit:
        needs = f"{STORAGE}=… " if storage is not None else ""
        return [f"{path}", f"submit it:  {needs}sbatch {path}"]
    if storage is not None:
        os.environ[STORAGE] = storage
    command = (sys.executable, "-m", "bench", "worker", "--study", study, "--out", str(results), *options)
    jobs = submit_tasks(
        [WorkerTask(command) for _ in range(array)],
        results / "slurm",
        resources,
        name=study,
        setup=setup,
        cluster=cluster,
    )
    return [f"{array} workers of study {study} submitted: {', '.join(job.job_id for job in jobs)}"]


def submit_tasks(
    tasks: list[WorkerTask], folder: Path, resources: Resources, *, name: str, setup: tuple[str, ...], cluster: str
) -> "list[Job[int]]":
    """Submit tasks as one array by submitit; «local» runs them on this machine. Returns its jobs."""
    if cluster not in CLUSTERS:
        raise UsageError(f"--cluster {cluster!r} is unknown", fix=f"one of {', '.join(CLUSTERS)}")
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "--submit needs submitit, which is not installed", fix="pip install 'lossbench[slurm]'"
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=folder / "submitit", cluster=cluster)
    except RuntimeError as error:
        raise UsageError(
            f"--submit: {error}", fix="run it where srun and sbatch are, or give --cluster local"
        ) from None
    parameters = {
        "slurm_partition": resources.partition, "slurm_account": resources.account, "slurm_mem": resources.memory,
        "slurm_time": resources.time, "cpus_per_task": resources.cpus, "gpus_per_node": resources.gpus,
        "slurm_setup": list(setup) or None,
    }  # fmt: skip
    executor.update_parameters(
        name=f"bench-{name}",
        nodes=resources.nodes,
        timeout_min=DAY_MINUTES,
        slurm_signal_delay_s=STOP_SECONDS,
        slurm_additional_parameters={"requeue": True} if resources.requeue else {},
        **{key: value for key, value in parameters.items() if value is not None},
    )
    with executor.batch():
        jobs = [executor.submit(task) for task in tasks]
    return list(jobs)


def launch_training(work: Path, resources: Resources, *, setup: tuple[str, ...]) -> list[str]:
    """Write the script that trains the job of a work folder on many nodes. Returns lines for the terminal.

    Raises:
        UsageError: the folder holds no job.
    """
    from pydantic import ValidationError

    from bench.train.job import TrainJob

    work = work.absolute()
    try:
        job = TrainJob.model_validate_json((work / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise UsageError(
            f"--job must be the work folder of a training (got {work}: {error})",
            fix="results/work/KEY of a run with --processes above 1",
        ) from None
    path = work / "train.sbatch"
    write_text_whole(path, training_script(work, resources, processes=job.execution.processes, setup=setup))
    return [f"{path}", f"submit it:  sbatch {path}"]
