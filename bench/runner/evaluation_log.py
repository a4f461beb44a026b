"""Progress of an evaluation as people see it: on the terminal, in the event log, and in the run's work folder."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.specs import RunSpec
from bench.errors import RunError
from bench.evaluate.progress import Report
from bench.utils.event_log import log_event
from bench.utils.files import write_text_whole
from bench.utils.progress import clock

FILE = "evaluating.json"
"""Who evaluates which run since when, and how far: what ``bench status`` reads."""
DISPLAY_SECONDS, WRITE_SECONDS, LOG_SECONDS = 0.5, 2.0, 10.0
"""At most so often a part that goes on is shown, written into the work folder, and logged."""
_last: dict[str, dict[str, float]] = {}
"""Seconds of each part of the last evaluation of a split in this process: what the parts to come will take."""


@dataclass(kw_only=True)
class _State:
    part: str = ""
    began: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)

    def is_due(self, what: str, every: float, now: float) -> bool:
        if now < self.due.get(what, 0.0):
            return False
        self.due[what] = now + every
        return True

    def turn_to(self, part: str, now: float) -> None:
        if self.part:
            self.seconds[self.part] = now - self.began
        self.part, self.began = part, now
        self.due.clear()


@contextmanager
def follow_evaluation(
    work: Path, spec: RunSpec, *, split: str, worker: str, show: Callable[[str], None]
) -> Iterator[Report]:
    """Yield what an evaluation reports its parts to. While it lasts, the run's work folder has ``evaluating.json``.

    If the disk is full, that file is left out and the evaluation goes on.

    Args:
        worker: who evaluates, as ``sweeps.heartbeat.worker_id`` names it.
        show: gets what is going on, in a few words.
    """
    about = {"worker": worker, "started": time.time(), "key": spec.key, "split": split}
    about["spec"] = spec.model_dump(mode="json")
    setting = " ".join(f"{name}={value:g}" for name, value in spec.params.items())
    name = " ".join(filter(None, (spec.objective, setting, f"seed {spec.seed}")))
    state = _State()

    def report(part: str, done: int, total: int) -> None:
        now = time.monotonic()
        if part != state.part:
            state.turn_to(part, now)
        left, whole = _seconds_left(state, _last.get(split, {}), done=done, total=total, now=now)
        if state.is_due("shown", DISPLAY_SECONDS, now):
            eta = "" if left is None else f" ({'evaluation: ' if whole else ''}ETA {clock(left)})"
            show(f"{name} · evaluating {split} · {part} {done}/{total}{eta}")
        fields: dict[str, object] = {"part": part, "done": done, "total": total, "seconds_left": _rounded(left)}
        if state.is_due("written", WRITE_SECONDS, now):
            with suppress(OSError, RunError):
                write_text_whole(work / FILE, json.dumps({**about, **fields}) + "\n")
        if state.is_due("logged", LOG_SECONDS, now):
            run: dict[str, object] = {"run": spec.key, "objective": spec.objective, "seed": spec.seed, "split": split}
            log_event("evaluation_progress", {**run, **fields, "of_all_parts": whole})

    try:
        yield report
        state.turn_to("", time.monotonic())
        _last[split] = state.seconds
    finally:
        with suppress(OSError):
            (work / FILE).unlink(missing_ok=True)


def _seconds_left(
    state: _State, usual: dict[str, float], *, done: int, total: int, now: float
) -> tuple[float | None, bool]:
    """Return the seconds that are left, and whether these are of all parts or of this one alone.

    A part goes on as fast as it went so far; the parts after it take what they took last time.
    """
    own = (now - state.began) / done * (total - done) if done else usual.get(state.part)
    if own is None:
        return None, False
    if state.part not in usual:
        return own, False
    names = list(usual)
    return own + sum(usual[name] for name in names[names.index(state.part) + 1 :]), True


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
