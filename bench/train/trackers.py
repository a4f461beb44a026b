"""The trackers that follow a training: TensorBoard by event files of our own, any other through accelerate."""

import importlib.util
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.core.record import RunRecord
from bench.core.specs import RunSpec
from bench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker
    from tensorboard.compat.proto.event_pb2 import Event

TENSORBOARD = "tensorboard"
NONE = "none"
FOLDER = "tensorboard"
FLUSH_SECONDS = 5.0
PACKAGES: Mapping[str, str] = {"comet_ml": "comet-ml"}
"""Of trackers whose package is not called as they are."""
UNTRACKED = ("step", "tokens", "seconds")


class Tracker(Protocol):
    """What follows one training."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take the numbers of a step."""

    def flush(self) -> None:
        """Write what is not written yet."""

    def close(self) -> None:
        """Write what is not written yet, and end."""


@dataclass(frozen=True)
class Tracked:
    """The trackers of one training."""

    trackers: tuple[Tracker, ...]

    def log(self, row: Mapping[str, float | None], step: int) -> None:
        """Pass a row of the curves on, without what it has no number for."""
        values = {f"train/{name}": value for name, value in row.items() if value is not None and name not in UNTRACKED}
        for tracker in self.trackers:
            tracker.log(values, step)

    def flush(self) -> None:
        """Have every one write what it holds: what follows may end with this process's death."""
        for tracker in self.trackers:
            tracker.flush()

    def close(self) -> None:
        """Close every one."""
        for tracker in self.trackers:
            tracker.close()


def read_trackers(text: str) -> tuple[str, ...]:
    """Read ``--tracker``: names, comma-separated, or none.

    Raises:
        UsageError: accelerate knows no tracker of that name, or its package is not installed.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UsageError(f"--tracker needs a name (got {text!r})", fix=f"--tracker {TENSORBOARD}, or --tracker {NONE}")
    if names == (NONE,):
        return ()
    if NONE in names:
        raise UsageError(f"--tracker: none must stand alone (got {text!r})", fix=f"--tracker {NONE}, or leave it out")
    for name in names:
        if name != TENSORBOARD:
            _check(name)
    if TENSORBOARD in names and importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--tracker tensorboard: its package is not installed", fix="pip install tensorboard")
    return names


def open_trackers(names: Sequence[str], *, results: Path, spec: RunSpec, first_step: int) -> Tracked:
    """Open the trackers of a training whose next row is that of ``first_step``; what they had beyond it is void."""
    trackers: list[Tracker] = []
    for name in names:
        if name == TENSORBOARD:
            trackers.append(EventFile(event_folder(results, spec), first_step=first_step, settings=settings_of(spec)))
        else:
            trackers.append(_accelerated(name, results=results, spec=spec))
    return Tracked(tuple(trackers))


def track_result(names: Sequence[str], *, results: Path, record: RunRecord) -> None:
    """Add a record's numbers, its target among them, to the event files of its run, where it has some."""
    folder = event_folder(results, record.spec)
    if TENSORBOARD not in names or not folder.is_dir():
        return
    split, steps = record.evaluation.split, record.spec.train.steps
    numbers = {f"{split}/{m.task}/{m.name}": m.value for m in record.metrics if m.name != "target"}
    numbers |= {f"{split}/target": m.value for m in record.metrics if m.name == "target"}
    file = EventFile(folder, first_step=None, settings={})
    file.log(numbers, steps)
    file.close()


def settings_of(spec: RunSpec) -> dict[str, str | float | int]:
    """What tells a run from others: objective, its parameters, learning rate, seed, batch, steps."""
    train = spec.train
    shared = {"learning_rate": train.learning_rate, "seed": spec.seed, "batch": train.batch, "steps": train.steps}
    return {"objective": spec.objective, **spec.params, **shared, "run": spec.key}


def event_folder(results: Path, spec: RunSpec) -> Path:
    """Where the event files of a run lie: a run belongs to every study that asks for it, so no study is in the name."""
    setting = " ".join(f"{name}={value:g}" for name, value in spec.params.items()) or "defaults"
    name = f"{setting} lr={spec.train.learning_rate:g} seed={spec.seed} {spec.key[:8]}"
    return results / FOLDER / _file_name(spec.objective) / _file_name(name)


class EventFile:
    """One TensorBoard event file: tensorboard's own records and messages, written by this thread.

    ``torch.utils.tensorboard`` takes four times as long to import and to write, and starts a thread.
    """

    def __init__(self, folder: Path, *, first_step: int | None, settings: Mapping[str, str | float | int]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        folder.mkdir(parents=True, exist_ok=True)
        # Readers take a folder's files by name: the microseconds keep a second session after the first.
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{int(now % 1 * 1e6):06d}.{platform.node()}.{os.getpid()}"
        # Handed to the writer and closed with it.
        self._writer = RecordWriter((folder / name).open("ab"))
        self._flushed = time.monotonic()
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        if first_step is not None:
            # Readers drop what earlier files hold of this step and later ones: a resumed run trains these again.
            self._write(Event(wall_time=now, step=first_step, session_log=SessionLog(status=SessionLog.START)))
        if settings:
            from tensorboard.plugins.hparams.summary_v2 import hparams_pb

            summary = hparams_pb(dict(settings), trial_id=str(settings.get("run", "")), start_time_secs=now)
            self._write(Event(wall_time=now, summary=summary))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write the numbers of a step."""
        each = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(self._event(wall_time=time.time(), step=step, summary=self._summary(value=each)))
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        self._writer.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is not written yet, and close the file."""
        self._writer.close()

    def _write(self, event: "Event") -> None:
        self._writer.write(event.SerializeToString())


@dataclass(frozen=True)
class _Accelerated:
    """A tracker of accelerate's."""

    tracker: "GeneralTracker"

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.tracker.log({name: value for name, value in values.items() if math.isfinite(value)}, step=step)

    def flush(self) -> None:
        """Nothing: these send by themselves."""

    def close(self) -> None:
        self.tracker.finish()


def _accelerated(name: str, *, results: Path, spec: RunSpec) -> Tracker:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    folder = {"logging_dir": str(results / name)} if kind.requires_logging_directory else {}
    run = f"{spec.suite}-{_file_name(spec.objective)}-{spec.key[:8]}"
    tracker = kind(run, **folder)
    tracker.start()
    tracker.store_init_configuration(settings_of(spec))
    return _Accelerated(tracker)


def _check(name: str) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if name not in LOGGER_TYPE_TO_CLASS:
        known = [*LOGGER_TYPE_TO_CLASS, NONE]
        raise UsageError(f"--tracker: unknown tracker {name!r}", fix=did_you_mean(name, known))
    if name not in {str(getattr(each, "value", each)) for each in get_available_trackers()}:
        package = PACKAGES.get(name, name)
        raise UsageError(f"--tracker {name}: its package is not installed", fix=f"pip install {package}")


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._=+-" else "_" for c in text)
