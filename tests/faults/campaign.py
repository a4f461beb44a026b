"""Owns the fault campaign: real sweeps whose processes are killed at random, and what has to be true afterwards."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from bench.core.results import load_records
from sweeps.claims import SLOT
from tests.faults.processes import alive, left_over, start, strike

Storage = Literal["journal", "postgres"]
Name = tuple[str, tuple[tuple[str, float], ...], int, str]
"""Of a record: objective, parameters, seed, split."""
OBJECTIVES, BETAS = ("dpo", "kto"), (0.03, 0.1, 0.3)
SWEEP = (
    "--loss", ",".join(OBJECTIVES), "--sweep", f"beta={','.join(map(str, BETAS))}", "--seeds", "1",
    "--set", "steps=16", "--set", "batch=8", "--set", "prompts=12", "--set", "tokens=10",
    "--set", "evaluation.pairs=8", "--set", "lm_eval=[]", "--set", "checkpoint_every=3",
)  # fmt: skip
PAUSE_SECONDS = (0.2, 5.0)
EARLY = 0.2
"""Share of the blows that do not wait until somebody is at work, but may meet the command while it loads."""
ROUND_KILLS = 6
"""At most so many in one sweep, so that it comes to its end."""
ROUND_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kind of sweep, how often its processes are killed in all, and how often its storage is restarted meanwhile."""

    storage: Storage
    workers: int
    processes: int
    kills: int
    restarts: int = 0


@dataclass(kw_only=True)
class Told:
    """What happened to the sweeps of one case, and what was wrong with them: nothing, if all is well."""

    case: Case
    sweeps: int = 0
    starts: int = 0
    restarts: int = 0
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    exits: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A database for the studies of one sweep: its URL, and how it is restarted."""

    url: str
    restart: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The sweep when nothing happens to it: its leaderboard, and its records by name."""

    leaderboard: bytes
    records: Counter[Name]


def undisturbed(folder: Path, *, processes: int) -> Whole:
    """Run the sweep when nothing happens to it."""
    folder.mkdir(parents=True)
    command = start(_arguments(folder, workers=1, processes=processes, url=None), log=folder / "said.txt")
    assert command.wait(ROUND_SECONDS) == 0, (folder / "said.txt").read_text()[-3000:]
    return Whole(leaderboard=(folder / "leaderboard.csv").read_bytes(), records=_records(folder))


def survive(case: Case, folder: Path, *, expected: Whole, server: Server | None, chance: random.Random) -> Told:
    """Run sweeps of a case under attack until as many kills have hit as it asks for, and look at each one's results."""
    told = Told(case=case)
    began = time.monotonic()
    while told.killed.total() < case.kills or told.restarts < case.restarts:
        place = folder / f"sweep-{told.sweeps}"
        place.mkdir(parents=True)
        _one_sweep(told, place, server=server, chance=chance)
        told.sweeps += 1
        told.wrong += [f"{place.name}: {fault}" for fault in faults_of(place, case, expected=expected, server=server)]
    told.seconds = time.monotonic() - began
    return told


def faults_of(place: Path, case: Case, *, expected: Whole, server: Server | None) -> list[str]:
    """What is wrong with a sweep that came to its end: leaderboard, trials, records, processes that are still there."""
    found = []
    if (place / "leaderboard.csv").read_bytes() != expected.leaderboard:
        found.append("the leaderboard differs from the undisturbed one")
    for name, storage in _studies(place, server):
        counts = Counter(
            trial.user_attrs[SLOT]
            for trial in optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
            if trial.state is optuna.trial.TrialState.COMPLETE
        )
        if sorted(counts.values()) != [1] * len(BETAS):
            found.append(f"study {name}: completed trials by setting {dict(counts)}, not one of each")
    names = _records(place)
    if missing := expected.records.keys() - names.keys():
        found.append(f"no record of {sorted(missing)}")
    # Finals of a setting that was chosen before one whose workers were killed was tried again: they do not count.
    more = [name for name in names.keys() - expected.records.keys() if name[3] != "test"]
    if more or set(names.values()) != {1}:
        found.append(f"records: {dict(names)}")
    if "Traceback" in (place / "said.txt").read_text(errors="replace"):
        found.append(f"a traceback stands in {place / 'said.txt'}")
    found += [f"process {process.pid} is still there: {process.cmdline()}" for process in left_over(place)]
    return found


def _one_sweep(told: Told, place: Path, *, server: Server | None, chance: random.Random) -> None:
    """Start the command again and again until it ends well; strike until the sweep or the case has had enough."""
    case, hits, restarts = told.case, 0, 0
    url = None if server is None else server.url
    deadline = time.monotonic() + ROUND_SECONDS
    while True:
        arguments = _arguments(place, workers=case.workers, processes=case.processes, url=url)
        command = start(arguments, log=place / "said.txt")
        told.starts += 1
        while command.poll() is None:
            strikes = hits < ROUND_KILLS and told.killed.total() < case.kills
            crashes = server is not None and restarts < 1 and told.restarts < case.restarts
            if not strikes and not crashes:
                break
            if chance.random() > EARLY:
                _until_at_work(command, case, place)
            time.sleep(chance.uniform(*PAUSE_SECONDS))
            if strikes and (kind := strike(command, chance=chance)) is not None:
                told.killed[kind] += 1
                hits += 1
            if server is not None and crashes and chance.random() < 0.5:
                server.restart()
                told.restarts += 1
                restarts += 1
        try:
            told.exits[command.wait(max(1.0, deadline - time.monotonic()))] += 1
        except subprocess.TimeoutExpired:
            command.kill()
            said = (place / "said.txt").read_text(errors="replace")[-3000:]
            raise AssertionError(f"{place}: the sweep did not end in {ROUND_SECONDS:g} s:\n{said}") from None
        if command.returncode == 0:
            return
        assert time.monotonic() < deadline, (place / "said.txt").read_text(errors="replace")[-3000:]


def _records(place: Path) -> Counter[Name]:
    return Counter(
        (record.spec.objective, tuple(sorted(record.spec.params.items())), record.spec.seed, record.evaluation.split)
        for record in load_records(place)
    )


def _until_at_work(command: subprocess.Popen[bytes], case: Case, place: Path) -> None:
    """Wait until a run is in work and, where there are to be several processes, one of them is there."""
    several = case.workers > 1 or case.processes > 1
    while command.poll() is None:
        others = any(kind in ("worker", "rank") for _, kind in alive(command.pid))
        if any(place.glob("work/*")) and (others or not several):
            return
        time.sleep(0.05)


def _arguments(place: Path, *, workers: int, processes: int, url: str | None) -> list[str]:
    given = ["run", *SWEEP, "--workers", str(workers), "--processes", str(processes), "--out", str(place)]
    return given if url is None else [*given, "--storage", url, "--study", place.parent.name + place.name]


def _studies(place: Path, server: Server | None) -> list[tuple[str, Any]]:
    """Name and storage of each study of a sweep."""
    if server is not None:
        prefix = place.parent.name + place.name
        return [(name, server.url) for name in optuna.get_all_study_names(server.url) if name.startswith(f"{prefix}-")]
    journals = sorted(place.glob("studies/*/journal.log"))
    return [(path.parent.name, JournalStorage(JournalFileBackend(str(path)))) for path in journals]
