"""The state of studies as their storages tell it: which settings have a result, and who is at the others."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import optuna
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from bench.utils.redact import redact
from sweeps.claims import SLOT, result
from sweeps.compat import study_id
from sweeps.heartbeat import BEAT, WORKER, is_gone
from sweeps.shared_values import is_board
from sweeps.study import TERMS

LEASE_SECONDS = 120.0
SETTLED = ("completed", "pruned", "diverged", "failed")
_RESULTS = ("completed", "pruned", "diverged")
JOURNAL = "journal.log"


class StoredRace(TypedDict):
    """The terms of a race that are used of a stored protocol."""

    looks: list[int]


class StoredProtocol(TypedDict, total=False):
    """What is used of the tuning protocol that a study stores; empty for a study without one."""

    preset: str
    hash: str
    sampler: str
    pruner: str
    trials: int
    seeds: list[int]
    final_seeds: list[int]
    race: StoredRace


class StoredTerms(TypedDict, total=False):
    """What is used of the terms that a study was made on; empty where its maker died before it wrote them."""

    points: list[dict[str, float]] | None
    direction: str
    protocol: StoredProtocol | None


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that somebody is at, or was: ``since`` and ``beat`` are seconds of the epoch."""

    study: str
    number: int
    params: Mapping[str, float]
    worker: str
    since: float | None
    beat: float
    stale: bool


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial without a result that the same command tries again."""

    study: str
    number: int
    params: Mapping[str, float]
    error: str


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best setting so far."""

    value: float
    params: Mapping[str, float]
    number: int


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: ``total`` settings, of which ``counts`` tells how many ended how, are running, or were lost.

    ``withdrawn``: claims that another worker was faster with. ``trial_seconds``: mean of the settings that have a
    result; None without any. ``protocol`` has what the tuning protocol fixes.
    """

    name: str
    storage: str
    protocol: StoredProtocol
    total: int
    counts: Mapping[str, int]
    best: Best | None
    running: tuple[Running, ...]
    failures: tuple[Failure, ...]
    withdrawn: int
    trial_seconds: float | None

    @property
    def settled(self) -> int:
        """How many settings have a result."""
        return sum(self.counts.get(status, 0) for status in SETTLED)


def read_studies(
    results: Path, *, storage: str | None, study: str | None, now: float | None = None
) -> tuple[list[Study], list[str]]:
    """Return the studies of a results folder, or of ``storage``, and a line for each that cannot be read.

    Args:
        study: only that one and those whose names begin so, as ``bench run --study`` names them.
        now: seconds of the epoch; None: this moment.
    """
    moment = time.time() if now is None else now
    places = [storage] if storage is not None else [str(path) for path in sorted(results.glob(f"studies/*/{JOURNAL}"))]
    studies: list[Study] = []
    problems: list[str] = []
    for place in places:
        try:
            opened, trouble = _open(place)
            problems += trouble
            for one in opened.get_all_studies():
                if is_board(one.study_name):
                    continue
                if study is None or one.study_name == study or one.study_name.startswith(f"{study}-"):
                    trials = opened.get_all_trials(study_id(one), deepcopy=False)
                    studies.append(
                        _study(one.study_name, place, one.user_attrs.get(TERMS) or StoredTerms(), trials, now=moment)
                    )
        # A storage is another program's file or a server: whatever it says, the others are still to be shown.
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            problems.append(redact(f"{place}: cannot be read: {type(error).__name__}: {first}"))
    return studies, problems


class SoundLines(BaseJournalBackend):
    """A journal that is only read: its lines up to the first broken one. ``broken`` is that line's number, from 1."""

    def __init__(self, path: Path) -> None:
        self.broken: int | None = None
        self._lines = list(self._read(path))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, object]]:
        """Return the lines from that one on."""
        return iter(self._lines[log_number_from:])

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Refuse."""
        raise PermissionError("this journal is only read")

    def _read(self, path: Path) -> Iterator[dict[str, object]]:
        lines = path.read_bytes().split(b"\n")
        # What follows the last line's end is being written at this moment, or was when its writer was killed.
        for number, line in enumerate(lines[:-1], 1):
            try:
                yield json.loads(line)
            except ValueError:
                self.broken = number
                return


def _open(place: str) -> tuple[optuna.storages.BaseStorage, list[str]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if place.startswith("journal:") or ("://" not in place and place.endswith(".log")):
        path = Path(place.removeprefix("journal:"))
        backend = SoundLines(path)
        problem = f"{path}: line {backend.broken} is no JSON; what stands before it is shown"
        return optuna.storages.JournalStorage(backend), [] if backend.broken is None else [problem]
    if "://" not in place:
        raise ValueError("neither a URL nor a journal file; for example sqlite:///studies.db")
    if place.startswith("sqlite:///"):
        file = place.removeprefix("sqlite:///").partition("?")[0]
        if not Path(file).is_file():
            raise FileNotFoundError(f"there is no file {file}")
        # Read-only, so that not even an empty database is made of what is none.
        place = f"sqlite:///file:{os.path.abspath(file)}?mode=ro&uri=true"  # noqa: PTH100  (keeps symbolic links)
    return optuna.storages.RDBStorage(place, skip_table_creation=True), []


def _study(name: str, storage: str, terms: StoredTerms, trials: Sequence[FrozenTrial], *, now: float) -> Study:
    protocol = terms.get("protocol") or StoredProtocol()
    slots: dict[str, list[FrozenTrial]] = {}
    withdrawn = 0
    for trial in trials:
        if SLOT not in trial.user_attrs:
            continue
        withdrawn += _status(trial) == "withdrawn"
        slots.setdefault(trial.user_attrs[SLOT], []).append(trial)
    claims = [one for group in slots.values() if (one := _deciding_claim(group)) is not None]
    counts: dict[str, int] = {}
    for trial in claims:
        status = _status(trial)
        counts[status] = counts.get(status, 0) + 1
    points = terms.get("points")
    settled = [trial for trial in claims if _status(trial) in _RESULTS and trial.duration is not None]
    seconds = [trial.duration.total_seconds() for trial in settled if trial.duration is not None]
    return Study(
        name=name,
        storage=redact(storage),
        protocol=protocol,
        total=len(points) if points is not None else int(protocol.get("trials") or len(slots)),
        counts=counts,
        best=_best(claims, maximize=terms.get("direction") != "minimize"),
        running=tuple(_running(name, trial, now=now) for trial in claims if _status(trial) == "running"),
        failures=tuple(_failure(name, trial) for trial in claims if _status(trial) == "failed"),
        withdrawn=withdrawn,
        trial_seconds=sum(seconds) / len(seconds) if seconds else None,
    )


def _deciding_claim(claims: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Return the claim that a setting is told by: its result, else whoever is at it, else how it last failed."""
    ranks = {**dict.fromkeys(_RESULTS, 0), "running": 1, "failed": 2, "lost": 3}
    counting = [trial for trial in claims if _status(trial) in ranks]
    return min(counting, key=lambda trial: (ranks[_status(trial)], -trial.number), default=None)


def _status(trial: FrozenTrial) -> str:
    if not trial.state.is_finished():
        return "running"
    stored = trial.user_attrs.get("outcome")
    if isinstance(stored, dict):
        return str(stored.get("status", "lost"))
    return "completed" if trial.state is TrialState.COMPLETE else "lost"


def _best(trials: Iterable[FrozenTrial], *, maximize: bool) -> Best | None:
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.values]
    best = min(done, key=lambda trial: ((-1 if maximize else 1) * trial.values[0], trial.number), default=None)
    return None if best is None else Best(value=best.values[0], params=dict(best.params), number=best.number)


def _running(study: str, trial: FrozenTrial, *, now: float) -> Running:
    return Running(
        study=study,
        number=trial.number,
        params=dict(trial.params),
        worker=trial.user_attrs[WORKER],
        since=None if trial.datetime_start is None else trial.datetime_start.timestamp(),
        beat=trial.user_attrs[BEAT],
        stale=is_gone(trial.user_attrs[WORKER]) or now - trial.user_attrs[BEAT] > LEASE_SECONDS,
    )


def _failure(study: str, trial: FrozenTrial) -> Failure:
    error = result(trial).error or "no reason given"
    return Failure(study=study, number=trial.number, params=dict(trial.params), error=redact(error))
