"""Owns worker processes under load: forked from one that has the libraries, each tells what every trial cost it."""

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeps.outcome import Outcome
from sweeps.study import open_study
from sweeps.worker import Sweep, join_study, take

NAME = "load"
Point = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial as its worker saw it. ``overhead``: seconds of claiming and settling, without the trial itself.

    ``cpu``: of these, seconds that the worker computed, which other processes on the machine change little.
    """

    worker: int
    beta: float
    ended: float
    overhead: float
    cpu: float


def points_of(count: int) -> list[Point]:
    """Different points."""
    return [{"beta": float(number + 1)} for number in range(count)]


def joined(storage: str, points: Sequence[Point]) -> Sweep:
    """Open or join the study."""
    study = open_study(NAME, storage=storage, sampler="grid", seed=0, points=points)
    return join_study(study, points=points)


def timed_take(sweep: Sweep, *, worker: int, seconds: float) -> Trial | None:
    """Do one trial that sleeps; None where nothing is free."""
    tried: list[tuple[float, float]] = []

    def evaluate(params: Point, _number: int) -> Outcome:
        started = time.perf_counter()
        time.sleep(seconds)
        tried.append((params["beta"], time.perf_counter() - started))
        return Outcome("completed", params["beta"], f"run-{params['beta']}", None)

    started, cpu = time.perf_counter(), time.process_time()
    if not take(sweep, evaluate):
        return None
    ended, cpu = time.perf_counter(), time.process_time() - cpu
    ((beta, worked),) = tried
    return Trial(worker=worker, beta=beta, ended=ended, overhead=ended - started - worked, cpu=cpu)


def run_workers(storage: str, folder: Path, *, workers: int, trials: int, seconds: float) -> tuple[list[Trial], float]:
    """Have forked processes work off a study of ``trials`` points.

    Returns:
        What each trial cost, and the seconds from the common start to the end of the last one.
    """
    points = points_of(trials)
    joined(storage, points)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(workers + 1)
    processes = [
        context.Process(target=_work, args=(storage, folder, number, points, seconds, barrier))
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
        assert process.exitcode == 0, f"a worker ended with {process.exitcode}"
    found = [
        Trial(**json.loads(line))
        for path in sorted(folder.glob("worker-*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return found, max(trial.ended for trial in found) - started


def _work(storage: str, folder: Path, number: int, points: Sequence[Point], seconds: float, barrier: Callable) -> None:
    sweep = joined(storage, points)
    barrier.wait()  # type: ignore[attr-defined]
    done = []
    while (trial := timed_take(sweep, worker=number, seconds=seconds)) is not None:
        done.append(trial)
    lines = "".join(json.dumps(asdict(trial)) + "\n" for trial in done)
    (folder / f"worker-{number:03}.jsonl").write_text(lines, encoding="utf-8")
