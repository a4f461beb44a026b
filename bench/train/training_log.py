"""Progress log of a training in its work folder, and its experiment trackers.

The folder of an unfinished run holds ``training.json`` (who trains what, since when) and ``progress.jsonl`` (a line for
each logged step: the row of the curves, tokens and seconds so far).
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.record import RunRecord
from bench.core.specs import Execution
from bench.train.trackers import Tracked, open_trackers, track_result
from bench.utils.event_log import log_event

if TYPE_CHECKING:
    from bench.train.job import Report, TrainJob

logger = logging.getLogger(__name__)
ABOUT = "training.json"
LINES = "progress.jsonl"
EVERY_SECONDS = 1.0
"""Lines are kept so long before they are written, so that a step pays for text alone."""


@contextmanager
def track_training(job: "TrainJob", *, trackers: Sequence[str], worker: str) -> Iterator["Report"]:
    """Yield what is called after each logged step of a job, with its number and its row.

    If the disk is full, progress lines are dropped and training goes on.

    Args:
        worker: who trains, as ``sweeps.heartbeat.worker_id`` names it.
    """
    spec, started = job.spec, time.time()
    about = {"worker": worker, "started": started, "processes": job.execution.processes}
    with suppress(OSError):
        text = json.dumps({**about, "key": spec.key, "spec": spec.model_dump(mode="json")}) + "\n"
        (job.work / ABOUT).write_text(text, encoding="utf-8")
    # Ranks write the lines themselves, and this process reads them.
    lines = _Lines(job.work / LINES) if job.execution.processes == 1 else None
    tracked: Tracked | None = None
    failed = False

    def track(step: int, row: dict[str, float | None]) -> None:
        nonlocal tracked
        if tracked is None:
            # Not before the first step: trackers ask accelerate for the main process, which the job's ranks set up.
            tracked = open_trackers(trackers, results=job.results, spec=spec, first_step=step)
        tracked.log(row, step)
        if _before_a_state(step, job.execution):
            # A training that is killed goes on after that state, and does not tell of the steps before it again.
            tracked.flush()

    def report(step: int, row: dict[str, float | None]) -> None:
        nonlocal failed
        if lines is not None:
            lines.add({**row, "time": round(time.time(), 3)})
        if trackers and not failed:
            failed = not _tried(lambda: track(step, row))

    try:
        yield report
    finally:
        if lines is not None:
            lines.close()
        if tracked is not None:
            _tried(tracked.close)


def track_record(record: RunRecord, *, results: Path, trackers: Sequence[str]) -> None:
    """Tell log and trackers what became of a run."""
    spec = record.spec
    fields: dict[str, object] = {"run": record.key, "objective": spec.objective, "params": spec.params}
    fields |= {"seed": spec.seed, "split": record.evaluation.split, "reason": record.error}
    metric = record.metric("target")
    fields |= {"target": None if metric is None else metric.value, "train_seconds": record.cost.train_seconds}
    bad = record.status in ("diverged", "failed")
    log_event(f"run_{record.status}", fields, level=logging.WARNING if bad else logging.INFO)
    _tried(lambda: track_result(trackers, results=results, record=record))


def _tried(action: Callable[[], None]) -> bool:
    """Do what a tracker is asked for; False, with a warning, where it failed: a run is worth more than its picture."""
    try:
        action()
    # A full disk, a server that is away, a service that refuses: each package has exceptions of its own.
    except Exception as error:
        logger.warning("a tracker failed, this training goes on without: %s: %s", type(error).__name__, error)
        return False
    return True


def _before_a_state(step: int, execution: Execution) -> bool:
    """Say whether a state is saved at this logged step, or before the next one."""
    every, until = execution.checkpoint_every, step + execution.log_every - 1
    return every > 0 and (step - 1) // every != until // every


class _Lines:
    """Appends whole lines to a file, once a second: whoever reads it meets no half of one."""

    def __init__(self, path: Path) -> None:
        self._pending: list[str] = []
        self._file: int | None = None
        with suppress(OSError):
            # From the start again: a training that goes on from a saved state repeats what came after it.
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._written = 0.0

    def add(self, row: dict[str, float | None]) -> None:
        self._pending.append(json.dumps(row))
        now = time.monotonic()
        if now - self._written >= EVERY_SECONDS:
            self._written = now
            self._write()

    def close(self) -> None:
        self._write()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self) -> None:
        text, self._pending = "".join(f"{line}\n" for line in self._pending), []
        if text and self._file is not None:
            with suppress(OSError):
                os.write(self._file, text.encode())
