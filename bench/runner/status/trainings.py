"""The state of unfinished trainings, from their work folders: how far, how fast, and whether anybody is at it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from bench.runner.evaluation_log import FILE
from sweeps.heartbeat import is_gone

SILENT_SECONDS = 120.0
ENDS_BYTES = 65_536
"""As much of a file of progress lines is read, at each end."""
Phase = Literal["starting", "training", "evaluating"]
State = Literal["at work", "left", "silent"]


class StoredTrain(TypedDict):
    """What is used of a training protocol."""

    steps: int


class StoredSpec(TypedDict):
    """What is used of a run's spec."""

    objective: str
    params: dict[str, float]
    seed: int
    train: StoredTrain


class About(TypedDict):
    """Who trains what since when: ``training.json``, or ``job.json``, which has the spec alone."""

    spec: StoredSpec
    worker: NotRequired[str]
    started: NotRequired[float]


class StoredEvaluation(TypedDict):
    """``evaluating.json``: who evaluates which run since when, and how far."""

    spec: StoredSpec
    worker: str
    started: float
    split: str
    part: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """An evaluation that goes on: ``done`` of ``total`` items of one of its ``part``s. ``started``: of the clock."""

    split: str
    part: str
    done: int
    total: int
    started: float
    seconds_left: float | None


class ProgressLine(TypedDict):
    """What is used of a line of progress."""

    step: int
    loss: NotRequired[float | None]
    tokens: NotRequired[int]
    seconds: NotRequired[float]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A run that is not finished. ``saved``: the step of its newest whole state, from which it would go on.

    ``state``: a process is «at work» on it; it was «left» by a process that is gone; or a process of another host,
    or one that cannot be told, is «silent» for minutes.
    """

    run: str
    objective: str
    params: Mapping[str, float]
    seed: int
    phase: Phase
    state: State
    worker: str | None
    started: float | None
    step: int
    steps: int
    loss: float | None
    tokens_per_second: float | None
    saved: int | None
    quiet_seconds: float | None
    evaluating: Evaluating | None = None


def read_trainings(results: Path, *, now: float) -> tuple[list[Training], list[str]]:
    """Return the unfinished trainings of a results folder, and a line for each that cannot be read."""
    trainings: list[Training] = []
    problems: list[str] = []
    for folder in sorted(results.glob("work/*")):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            training = _training(folder, now=now)
        # A run may end, and its folder go, while it is looked at.
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{folder}: cannot be read: {type(error).__name__}: {error}")
            continue
        if training is not None:
            trainings.append(training)
    return trainings, problems


def _training(folder: Path, *, now: float) -> Training | None:
    evaluation = _evaluation(folder)
    about = _about(folder) or evaluation
    if about is None:
        return None
    spec, lines = about["spec"], folder / "progress.jsonl"
    first, last = _ends(lines) if lines.is_file() else (None, None)
    step, steps = int(last["step"]) if last else 0, int(spec["train"]["steps"])
    seen = lines.stat().st_mtime if lines.is_file() else about.get("started")
    quiet = None if seen is None else max(0.0, now - seen)
    worker = about.get("worker")
    if evaluation is not None:
        quiet, worker = max(0.0, now - (folder / FILE).stat().st_mtime), evaluation["worker"]
    gone = worker is not None and is_gone(worker)
    phase: Phase = "starting" if last is None else "evaluating" if step >= steps else "training"
    if evaluation is not None:
        phase = "evaluating"
    return Training(
        run=folder.name,
        objective=spec["objective"],
        params=spec["params"],
        seed=spec["seed"],
        phase=phase,
        state="left" if gone else "silent" if quiet is None or quiet > SILENT_SECONDS else "at work",
        worker=worker,
        started=about.get("started"),
        step=step,
        steps=steps,
        loss=last.get("loss") if last else None,
        tokens_per_second=_rate(first, last),
        saved=_saved(folder),
        quiet_seconds=quiet,
        evaluating=None
        if evaluation is None
        else Evaluating(
            split=evaluation["split"],
            part=evaluation["part"],
            done=evaluation["done"],
            total=evaluation["total"],
            started=evaluation["started"],
            seconds_left=evaluation["seconds_left"],
        ),
    )


def _evaluation(folder: Path) -> StoredEvaluation | None:
    """Return what is being evaluated; None where nothing is."""
    try:
        return json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _about(folder: Path) -> About | None:
    """Return who trains what; None for a folder of no training."""
    for name in ("training.json", "job.json"):
        if (folder / name).is_file():
            return json.loads((folder / name).read_text(encoding="utf-8"))
    return None


def _ends(path: Path) -> tuple[ProgressLine | None, ProgressLine | None]:
    """Return the first and the last whole line of a file that may be written at this moment."""
    with path.open("rb") as file:
        head = file.read(ENDS_BYTES)
        size = file.seek(0, 2)
        file.seek(max(0, size - ENDS_BYTES))
        tail = file.read()
    start, _, _ = head.partition(b"\n")
    whole, newline, _ = tail.rpartition(b"\n")
    if not newline:
        return None, None
    return json.loads(start), json.loads(whole.rpartition(b"\n")[2])


def _rate(first: ProgressLine | None, last: ProgressLine | None) -> float | None:
    """Return tokens per second between two lines; None where they do not say."""
    if first is None or last is None or "tokens" not in last or "tokens" not in first:
        return None
    seconds = last["seconds"] - first["seconds"]
    if seconds > 0:
        return (last["tokens"] - first["tokens"]) / seconds
    return last["tokens"] / last["seconds"] if last["seconds"] > 0 else None


def _saved(folder: Path) -> int | None:
    steps = [int(path.parent.name.removeprefix("state-")) for path in folder.glob("state-*/manifest.json")]
    return max(steps, default=None)
