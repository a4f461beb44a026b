"""Slurm scripts: an array of workers, and one training on many nodes."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.train.distributed.torchrun import STOP_FILE, torchrun_over_nodes
from bench.utils.environment import STORAGE

STOP_SECONDS = 60
"""Time from the signal to the end of a job, by its time limit or by preemption: a training saves its state then."""

_FORMS = {
    "partition": (r"[\w.,+-]+", "gpu"),
    "time": (r"\d+(-\d+)?(:\d+){0,2}", "04:00:00"),
    "memory": (r"\d+[KMGT]?", "32G"),
    "account": (r"[\w.+-]+", "my-group"),
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of a job, each None where the cluster's own default is taken. ``gpus`` are of each node.

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
                    f"--{name} must have a form that Slurm takes (got {value!r})", fix=f"for example --{name} {example}"
                )

    def lines(self) -> list[str]:
        """Return the lines of ``#SBATCH``."""
        values = {
            "nodes": self.nodes, "ntasks-per-node": 1, "partition": self.partition, "account": self.account,
            "time": self.time, "cpus-per-task": self.cpus, "gpus-per-node": self.gpus, "mem": self.memory,
            "signal": f"B:TERM@{STOP_SECONDS}",
        }  # fmt: skip
        lines = [f"#SBATCH --{name}={value}" for name, value in values.items() if value is not None]
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
    """Return the script of ``array`` jobs that join a study. It names no storage, which may hold a password.

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
    """Return the script that trains the job in a work folder on many nodes. When stopped, the ranks save their state.

    Raises:
        UsageError: the job's ranks cannot be shared by the nodes.
    """
    if processes % resources.nodes:
        raise UsageError(
            f"a job of {processes} ranks cannot be shared by {resources.nodes} nodes",
            fix="give --nodes a number that divides the ranks",
        )
    stop = shlex.quote(str(work / STOP_FILE))
    first, last = torchrun_over_nodes(processes, resources.nodes)
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
        raise UsageError(
            f"#SBATCH lines take no path with a blank (got {log.parent})", fix="give --out a folder without blanks"
        )
    job = '"$SLURM_JOB_ID"' if array is None else '"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"'
    again = f'if [ -n "$stopped" ] && [ "$code" -ne 0 ]; then scontrol requeue {job}; fi\n'
    options = [*([] if array is None else [f"#SBATCH --array=0-{array - 1}"]), *resources.lines()]
    return f"""\
#!/bin/bash
#SBATCH --job-name={name}
{_lines(options)}#SBATCH --output={log}

{_lines(setup)}
# Told to stop, the work is told too, and waited for; what it saved is gone on from when the job is back.
stopped=
stop() {{ stopped=1; {stop}; }}
trap stop TERM
{command} &
work=$!
while kill -0 "$work" 2>/dev/null; do wait "$work"; done
wait "$work"
code=$?
{again if resources.requeue else ""}exit "$code"
"""


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)
