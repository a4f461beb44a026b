"""The state of a results folder: studies, workers, trainings, time left, disk, and what is damaged."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.runner.race_history import RaceHistory, read_histories
from bench.runner.status.studies import Study, read_studies
from bench.runner.status.trainings import Training, read_trainings
from bench.utils.progress import clock


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process that is at something, or was. ``beat``: seconds since it was last heard of; ``at``: in a few words."""

    host: str
    pid: int
    since: float | None
    at: str
    beat: float | None
    stale: bool


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A results folder at one moment. ``seconds_left``: of the trials alone; None where nothing tells it."""

    folder: str
    time: str
    studies: tuple[Study, ...]
    races: tuple[RaceHistory, ...]
    workers: tuple[Worker, ...]
    trainings: tuple[Training, ...]
    seconds_left: float | None
    finals_seconds: float | None
    runs: int
    records: int
    disk: dict[str, int]
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return everything as plain data."""
        return json.loads(json.dumps(asdict(self)))


def overview(results: Path, *, storage: str | None = None, study: str | None = None) -> Overview:
    """Look at a results folder, and write nothing. What cannot be read is among the problems."""
    now = time.time()
    studies, problems = read_studies(results, storage=storage, study=study, now=now)
    trainings, unread = read_trainings(results, now=now)
    sizes, unseen = _sizes(results)
    runs, records, damaged = _runs(results, sizes)
    workers = _workers(studies, trainings, now=now)
    at_work = sum(not worker.stale for worker in workers)
    left, finals = time_left(studies, workers=at_work, now=now, run_seconds=run_seconds(trainings, now=now))
    return Overview(
        folder=str(results),
        time=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        studies=tuple(studies),
        races=read_histories(results),
        workers=tuple(workers),
        trainings=tuple(trainings),
        seconds_left=left,
        finals_seconds=finals,
        runs=runs,
        records=records,
        disk=_disk(sizes),
        problems=(*problems, *unread, *unseen, *damaged),
    )


def run_seconds(trainings: Sequence[Training], *, now: float) -> float | None:
    """Return what a run will take by how far those at work have come; None where none has begun to train."""
    moving = [one for one in trainings if one.state == "at work" and one.step and one.started is not None]
    times = [(now - (one.started or now)) * one.steps / one.step for one in moving]
    return sum(times) / len(times) if times else None


def time_left(
    studies: Sequence[Study], *, workers: int, now: float, run_seconds: float | None = None
) -> tuple[float | None, float | None]:
    """Return the seconds that trials without a result will take, and fresh seeds after them, both on ``workers``.

    A trial counts for what its study's settled trials took on average, else those of all, else a run of each of its
    seeds at ``run_seconds``. None where nothing of that is known, or nobody is at work.
    """
    known = [study.trial_seconds for study in studies if study.trial_seconds is not None]
    usual = sum(known) / len(known) if known else None
    if workers == 0 or (usual is None and run_seconds is None):
        return None, None
    left = finals = 0.0
    for study in studies:
        missing = study.total - study.settled
        if not missing:
            continue
        each = study.trial_seconds if study.trial_seconds is not None else usual
        if each is None:
            each = (run_seconds or 0.0) * len(study.protocol.get("seeds") or [0])
        done = sum(min(each, now - one.since) for one in study.running if not one.stale and one.since is not None)
        left += each * missing - done
        seeds = len(study.protocol.get("seeds") or [0])
        finals += each / seeds * _sure_seeds(study)
    return left / workers, finals / workers


def _sure_seeds(study: Study) -> int:
    """Return how many fresh seeds follow a study's trials: in a race those of its first look."""
    race = study.protocol.get("race")
    return race["looks"][0] if race else len(study.protocol.get("final_seeds") or [])


def _workers(studies: Sequence[Study], trainings: Sequence[Training], *, now: float) -> list[Worker]:
    """Return a worker for each running trial, and for each training that belongs to none: that of a final."""
    workers: dict[str, Worker] = {}
    # A worker that measures the start model for a run of its own is at that now: what was heard of last counts.
    latest = sorted(trainings, key=lambda one: -(one.quiet_seconds or 0.0))
    by_worker = {training.worker: training for training in latest if training.worker is not None}
    for study in studies:
        for trial in study.running:
            training = by_worker.get(trial.worker)
            step = "" if training is None else f", {_progress(training, now=now)}"
            host, pid = _process(trial.worker)
            workers[trial.worker] = Worker(
                host=host,
                pid=pid,
                since=trial.since,
                at=f"{study.name} trial {trial.number}{step}",
                beat=max(0.0, now - trial.beat),
                stale=trial.stale,
            )
    for name, training in by_worker.items():
        # What a process left when it was told to stop is no worker's any more.
        if name not in workers and training.state != "left":
            host, pid = _process(name)
            workers[name] = Worker(
                host=host,
                pid=pid,
                since=training.started if training.evaluating is None else training.evaluating.started,
                at=f"{training.objective} seed {training.seed}, {_progress(training, now=now)}",
                beat=training.quiet_seconds,
                stale=training.state != "at work",
            )
    return sorted(workers.values(), key=lambda worker: (worker.stale, worker.host, worker.pid))


def _progress(training: Training, *, now: float) -> str:
    evaluating = training.evaluating
    if evaluating is not None:
        eta = "" if evaluating.seconds_left is None else f", ETA {clock(evaluating.seconds_left)}"
        how_far = f"{evaluating.part} {evaluating.done}/{evaluating.total}"
        return f"evaluating {evaluating.split} for {clock(now - evaluating.started)}: {how_far}{eta}"
    return training.phase if training.phase != "training" else f"step {training.step}/{training.steps}"


def _process(worker: str) -> tuple[str, int]:
    """Return host and process id of a ``worker_id``."""
    host, pid, _ = worker.rsplit(":", 2)
    return host.partition("/")[0], int(pid)


def _sizes(results: Path) -> tuple[dict[str, int], list[str]]:
    """Return the size of every file by its path under ``results``, and a line for each folder that does not open."""
    sizes: dict[str, int] = {}
    problems: list[str] = []
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            entries = list(os.scandir(results / inside))
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{results / inside}: cannot be read: {error.strerror}")
            continue
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
                continue
            try:
                sizes[name] = entry.stat(follow_symlinks=False).st_size
            except OSError:
                # Temporary files come and go while a sweep runs.
                continue
    return sizes, problems


def _runs(results: Path, sizes: dict[str, int]) -> tuple[int, int, list[str]]:
    """Count finished runs and records; name those whose files are missing or of another size than was written."""
    problems: list[str] = []
    runs = records = 0
    for name in sizes:
        parts = name.split("/")
        if parts[0] != "runs" or parts[-1] != "manifest.json" or any(part.startswith(".") for part in parts):
            continue
        if len(parts) not in (3, 5):
            continue
        folder = "/".join(parts[:-1])
        runs, records = (runs + 1, records) if len(parts) == 3 else (runs, records + 1)
        try:
            files = json.loads((results / name).read_bytes())["files"]
            wrong = [file for file, entry in files.items() if sizes.get(f"{folder}/{file}") != entry["bytes"]]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"{results / name}: is damaged")
            continue
        if wrong:
            problems.append(f"{results / folder}/{wrong[0]}: is missing or not as long as it was written")
    return runs, records, problems


def _disk(sizes: dict[str, int]) -> dict[str, int]:
    """Return bytes by what lies first under ``results``, the largest first; single files are together as «files»."""
    totals: dict[str, int] = {}
    for name, size in sizes.items():
        place, slash, _ = name.partition("/")
        place = place if slash else "files"
        totals[place] = totals.get(place, 0) + size
    return dict(sorted(totals.items(), key=lambda pair: -pair[1]))
