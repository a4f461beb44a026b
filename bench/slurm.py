"""Owns what Slurm is given: scripts for an array of workers and for one training on many nodes, and how ranks start."""

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import RunError, UsageError
from bench.variables import STORAGE

STOP_SECONDS = 60
"""So long before the end of its time, or of a preemption's grace, a job is told: a training saves its state then."""
STOP = "stop"
"""A file in a job's work folder: ranks on any machine that find it save their state and stop."""
_FORMS = {
    "partition": (r"[\w.,+-]+", "gpu"),
    "time": (r"\d+(-\d+)?(:\d+){0,2}", "04:00:00"),
    "memory": (r"\d+[KMGT]?", "32G"),
    "account": (r"[\w.+-]+", "my-group"),
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks Slurm for, each None where the cluster's own default holds. ``gpus`` are of each node.

    Raises:
        UsageError: a value that is none of Slurm's.
    """

    nodes: int = 1
    partition: str | None = None
    account: str | None = None
    time: str | None = None
    cpus: int | None = None
    gpus: int | None = None
    memory: str | None = None
    requeue: bool = True

    def __post_init__(self) -> None:
        for name, (form, example) in _FORMS.items():
            value = getattr(self, name)
            if value is not None and not re.fullmatch(form, value):
                raise UsageError(
                    f"--{name} {value!r} is nothing that Slurm takes", fix=f"for example --{name} {example}"
                )

    def lines(self) -> list[str]:
        """As ``#SBATCH`` has them."""
        given = {
            "nodes": self.nodes, "ntasks-per-node": 1, "partition": self.partition, "account": self.account,
            "time": self.time, "cpus-per-task": self.cpus, "gpus-per-node": self.gpus, "mem": self.memory,
            "signal": f"B:TERM@{STOP_SECONDS}",
        }  # fmt: skip
        lines = [f"#SBATCH --{name}={value}" for name, value in given.items() if value is not None]
        return [*lines, "#SBATCH --open-mode=append", *(["#SBATCH --requeue"] if self.requeue else [])]


def worker_script(
    study: str,
    results: Path,
    resources: Resources,
    *,
    array: int,
    storage: bool,
    setup: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> str:
    """The script of ``array`` jobs that join a study. It names no storage, which may hold a password.

    Args:
        results: absolute, on a disk that every node has.
        storage: whether the study is in a storage that the environment has to name.
        setup: lines of shell that run first. options: more of ``bench worker``'s.
    """
    command = (sys.executable, "-m", "bench", "worker", "--study", study, "--out", str(results), *options)
    needed = f"the storage of study {study}, as in postgresql://USER:PASSWORD@HOST/DATABASE"
    return _script(
        f"bench-{study}",
        resources,
        array=array,
        log=results / "slurm" / f"{study}-%A_%a.log",
        setup=(*([f': "${{{STORAGE}:?{needed}}}"'] if storage else []), *setup),
        command=shlex.join(command),
        # srun is not in between: told to stop, it would kill what it runs.
        stop='kill -TERM "$work" 2>/dev/null',
    )


def training_script(work: Path, resources: Resources, *, processes: int, setup: tuple[str, ...] = ()) -> str:
    """The script that trains the job in a work folder on many nodes. Told to stop, the ranks save their state.

    Raises:
        UsageError: the job's ranks cannot be shared by the nodes.
    """
    if processes % resources.nodes:
        raise UsageError(
            f"a job of {processes} ranks cannot be shared by {resources.nodes} nodes",
            fix="give --nodes a number that divides the ranks",
        )
    stop = shlex.quote(str(work / STOP))
    first, last = _over_nodes(processes, resources.nodes)
    meeting = '--rdzv_id="$SLURM_JOB_ID" --rdzv_endpoint="$(hostname):$((20000 + SLURM_JOB_ID % 20000))"'
    return _script(
        f"bench-{work.name}",
        resources,
        array=None,
        log=work / "slurm-%j.log",
        setup=(f"rm -f {stop}", *setup),
        command=f"{shlex.join(first)} {meeting} {shlex.join([*last, str(work)])}",
        stop=f"touch {stop}",
    )


def torchrun(processes: int, work: Path, environment: Mapping[str, str]) -> list[str]:
    """The command that trains a job by ``processes`` ranks: on this machine, or over the nodes of a Slurm job.

    Raises:
        RunError: the nodes cannot share the ranks.
    """
    nodes = nodes_of(environment)
    if nodes == 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        return [*command, "-m", "bench.train", str(work)]
    if processes % nodes:
        raise RunError(
            f"{processes} ranks cannot be shared by {nodes} nodes", fix="give --processes a multiple of the nodes"
        )
    first, last = _over_nodes(processes, nodes)
    number = int(environment["SLURM_JOB_ID"])
    meeting = [f"--rdzv_id={number}", f"--rdzv_endpoint={environment['SLURMD_NODENAME']}:{20000 + number % 20000}"]
    return [*first, *meeting, *last, str(work)]


def nodes_of(environment: Mapping[str, str]) -> int:
    """How many nodes the Slurm job has that this process is in; 1 outside of Slurm."""
    return int(environment.get("SLURM_JOB_NUM_NODES", "1"))


def _over_nodes(processes: int, nodes: int) -> tuple[list[str], list[str]]:
    """What stands before and after where the nodes meet."""
    each = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    ranks = [f"--nnodes={nodes}", f"--nproc_per_node={processes // nodes}", "--rdzv_backend=c10d"]
    return [*each, sys.executable, "-m", "torch.distributed.run", *ranks], ["-m", "bench.train"]


def _script(
    name: str,
    resources: Resources,
    *,
    array: int | None,
    log: Path,
    setup: tuple[str, ...],
    command: str,
    stop: str,
) -> str:
    if re.search(r"\s", str(log)):
        raise UsageError(f"{log.parent} has a blank in its path, which #SBATCH lines do not take", fix="give another")
    job = '"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"' if array is not None else '"$SLURM_JOB_ID"'
    again = f'if [ -n "$stopped" ] && [ "$code" -ne 0 ]; then scontrol requeue {job}; fi'
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={name}",
        *([f"#SBATCH --array=0-{array - 1}"] if array is not None else []),
        *resources.lines(),
        f"#SBATCH --output={log}",
        "",
        *setup,
        "",
        "# Told to stop, the work is told too, and waited for; what it saved is gone on from when the job is back.",
        "stopped=",
        f"stop() {{ stopped=1; {stop}; }}",
        "trap stop TERM",
        f"{command} &",
        "work=$!",
        'while kill -0 "$work" 2>/dev/null; do wait "$work"; done',
        'wait "$work"',
        "code=$?",
        *([again] if resources.requeue else []),
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"
