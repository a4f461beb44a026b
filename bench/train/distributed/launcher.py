"""Launcher of ranks, or of the wait for those that a user starts: follows progress, reports faults, leaves none."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import RunError
from bench.train.distributed.rank import LAUNCHER
from bench.train.distributed.torchrun import STOP_FILE, nodes_of, torchrun
from bench.train.early_stop import EarlyStop
from bench.train.job import Inputs, Report, TrainJob, lease, run_job, write_job
from bench.train.loop import Interrupted

GRACE_SECONDS = 6.0
"""Time in which ranks save their state after SIGTERM; then torchrun ends them. A worker has eight seconds for
all of it (``bench.runner.pool``)."""
LOOK_SECONDS = 0.2
Note = Callable[[str], None]


def launch(
    job: TrainJob,
    *,
    report: Report,
    should_stop: Callable[[], bool],
    inputs: Callable[[TrainJob], Inputs],
    rungs: EarlyStop | None,
    note: Note = lambda text: None,
) -> None:
    """Train a job in this process, or by ranks where ``execution.processes`` asks for them: on this machine, or on all
    nodes of a Slurm job.

    ``inputs`` and ``rungs`` are this process's (see ``run_job``); ranks read from disk and are never ended early.

    Raises:
        RunError: what the ranks reported. Interrupted: ``should_stop`` was true; the state is on disk.
    """
    if job.execution.launcher == "manual":
        _wait(job, report=report, should_stop=should_stop, note=note)
    elif job.execution.processes == 1:
        with lease(job, wait=True, name="ranks"):  # ranks that a user started may be at it
            if job.finished is None:
                run_job(job, report=report, should_stop=should_stop, inputs=inputs, rungs=rungs)
    else:
        _start(job, report=report, should_stop=should_stop)


def _start(job: TrainJob, *, report: Report, should_stop: Callable[[], bool]) -> None:
    work = write_job(job)
    for name in ("progress.jsonl", "error.txt", STOP_FILE):
        (work / name).unlink(missing_ok=True)
    # By the environment, for torchrun before 2.12 has no such option and ends ranks after 30 seconds.
    grace = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(round(GRACE_SECONDS))}
    command = torchrun(job.execution.processes, work, os.environ)
    several = nodes_of(os.environ) > 1
    # A process of this node is none of another's: ranks there would take it for gone.
    launcher = {} if several else {LAUNCHER: str(os.getpid())}
    environment = {**os.environ, **grace, **launcher}
    stopped = False
    with (
        (work / "ranks.log").open("w", encoding="utf-8") as log,
        # A session of its own: Ctrl-C reaches this process alone, and the whole group can be ended.
        _ending(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)) as ranks,
    ):
        seen = 0
        while ranks.poll() is None:
            seen = _follow(work / "progress.jsonl", seen, report)
            if not stopped and should_stop():
                stopped = True
                # srun would kill the ranks instead of telling them.
                (work / STOP_FILE).touch() if several else ranks.terminate()
            time.sleep(LOOK_SECONDS)
    _follow(work / "progress.jsonl", seen, report)
    if job.finished is not None:
        return
    if stopped:
        raise Interrupted
    problem, fix = _failure(work, ranks.returncode)
    raise RunError(problem, fix=fix)


@contextlib.contextmanager
def _ending(ranks: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End torchrun and every rank at the end of the block: by SIGTERM, and after the grace by SIGKILL."""
    try:
        yield ranks
    finally:
        if ranks.poll() is None:
            ranks.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                ranks.wait(timeout=GRACE_SECONDS + 1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(ranks.pid, signal.SIGKILL)
        ranks.wait()


def _wait(job: TrainJob, *, report: Report, should_stop: Callable[[], bool], note: Note) -> None:
    """Wait for ranks that the user starts on machines of his choice. They are his: a stop ends the waiting alone."""
    work = write_job(job)
    (work / "error.txt").unlink(missing_ok=True)
    seen = _follow(work / "progress.jsonl", 0, lambda step, row: None)
    count = job.execution.processes
    line = f"torchrun --nproc_per_node {count} -m bench.train {shlex.quote(str(work))}"
    note(f"ready for {count} ranks, which you start: {line}")
    while job.finished is None:
        seen = _follow(work / "progress.jsonl", seen, report)
        if (work / "error.txt").exists():
            raise RunError((work / "error.txt").read_text(encoding="utf-8"))
        if should_stop():
            raise Interrupted
        time.sleep(LOOK_SECONDS)
    _follow(work / "progress.jsonl", seen, report)


def _failure(work: Path, code: int) -> tuple[str, str | None]:
    """Return why the ranks ended, and a fix: who was killed, else what a rank wrote, else the end of their log."""
    log = (work / "ranks.log").read_text(encoding="utf-8", errors="replace")
    killed = re.search(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*-(\d+)", log, flags=re.DOTALL)
    if killed is not None:
        return (
            f"rank {killed[1]} was ended by signal {killed[2]}; the other ranks were stopped",
            "signal 9 mostly means that memory is short: a smaller --set execution.micro_batch, or "
            "--set execution.shard=fsdp2; the same command goes on from the last state (--set checkpoint_every=N)",
        )
    if (work / "error.txt").exists():
        return (work / "error.txt").read_text(encoding="utf-8"), None
    return f"the ranks ended with {code}: {log[-2000:]}", None


def _follow(path: Path, seen: int, report: Report) -> int:
    """Report the whole lines after the first ``seen`` ones; return how many there are now."""
    if not path.exists():
        return seen
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    for line in whole[seen:]:
        row = json.loads(line)
        report(int(row["step"]), row)
    return len(whole)
