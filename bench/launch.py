"""Owns starting ranks: one job under torchrun, its progress followed, its faults told as ours."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.errors import RunError
from bench.job import Inputs, Report, TrainJob, run_job, write_job
from bench.rungs import Rungs
from bench.slurm import torchrun
from bench.train import Interrupted


def launch(
    job: TrainJob,
    *,
    report: Report,
    should_stop: Callable[[], bool],
    inputs: Callable[[TrainJob], Inputs],
    rungs: Rungs | None,
) -> None:
    """Train a job in this process, or under torchrun where ``execution.processes`` asks for ranks, on all nodes of a
    Slurm job.

    ``inputs`` and ``rungs`` are this process's (see ``run_job``); ranks read from disk and are never ended early.

    Raises:
        RunError: what the ranks said. Interrupted: ``should_stop`` said so; the state is on disk.
    """
    if job.execution.processes == 1:
        run_job(job, report=report, should_stop=should_stop, inputs=inputs, rungs=rungs)
        return
    work = write_job(job)
    for name in ("stop", "progress.jsonl", "error.txt"):
        (work / name).unlink(missing_ok=True)
    command = torchrun(job.execution.processes, work, os.environ)
    with (work / "ranks.log").open("w", encoding="utf-8") as log:
        ranks = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            seen = 0
            while ranks.poll() is None:
                seen = _follow(work / "progress.jsonl", seen, report)
                if should_stop():
                    (work / "stop").touch()
                time.sleep(0.2)
            _follow(work / "progress.jsonl", seen, report)
        finally:
            if ranks.poll() is None:
                ranks.terminate()
                ranks.wait(timeout=30)
    if (work / "stop").exists():
        (work / "stop").unlink()
        raise Interrupted
    if ranks.returncode != 0:
        told = work / "error.txt"
        tail = (work / "ranks.log").read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RunError(
            told.read_text(encoding="utf-8") if told.exists() else f"the ranks ended with {ranks.returncode}: {tail}"
        )


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
