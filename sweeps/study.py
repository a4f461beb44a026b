"""Owns the terms of a study: its storage, its sampler and pruner, and who may join."""

import json
import os
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

from sweeps.errors import StudyError
from sweeps.protocol import Direction, SamplerName, TuningProtocol
from sweeps.pruning import build_pruner

__all__ = ["TERMS", "Direction", "SamplerName", "TuningProtocol", "build_sampler", "open_study"]

TERMS = "terms"
STARTUP_TRIALS = 5
_TERMS_PATIENCE_SECONDS = 10.0
_OPEN_ATTEMPTS = 20
# What SQLite, PostgreSQL and MySQL say to a worker that makes the tables at the same time as another: the tables
# are there, or nearly, when it looks again.
_RACE_SIGNS = ("already exists", "UNIQUE constraint", "duplicate key", "Duplicate entry", "is locked")


def open_study(
    name: str,
    *,
    storage: str,
    sampler: SamplerName,
    seed: int,
    direction: Direction = "maximize",
    points: Sequence[Mapping[str, float]] | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
    protocol: TuningProtocol | None = None,
) -> optuna.Study:
    """Make the study ``name``, or join the one that is there if it was made on the same terms.

    ``storage``: an Optuna URL (``sqlite:///…``, ``postgresql://…``), or ``journal:PATH`` or a path ending in
    ``.log`` for a journal file. The terms are all the other arguments; the protocol names the pruner. Optuna's own log
    is quietened to warnings.

    Raises:
        StudyError: for a storage that does not open, or a study made on other terms.
    """
    if optuna.logging.get_verbosity() < optuna.logging.WARNING:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    terms = _terms(sampler, seed, direction, points, distributions, protocol)
    opened = _open_storage(storage)
    choosing = build_sampler(sampler, seed=seed)
    try:
        study = optuna.load_study(study_name=name, storage=opened, sampler=choosing)
    except KeyError:
        study = _create(name, opened, direction, terms, sampler=choosing)
    # Set apart from the sampler's calls: without a protocol nothing is pruned, whatever Optuna's default is.
    study.pruner = build_pruner(protocol)
    stored = _stored_terms(study, name)
    if stored is None:
        study.set_user_attr(TERMS, terms)
    elif stored != terms:
        raise StudyError(
            f"study {name!r} was made on other terms: {'; '.join(_differences(stored, terms))}",
            fix="give the same terms to join it, or another study name for a new one",
        )
    return study


def build_sampler(name: SamplerName, *, seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's sampler; a grid samples nothing, so it gets the random one."""
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.samplers.RandomSampler(seed=seed)


def _terms(
    sampler: SamplerName,
    seed: int,
    direction: Direction,
    points: Sequence[Mapping[str, float]] | None,
    distributions: Mapping[str, BaseDistribution] | None,
    protocol: TuningProtocol | None,
) -> dict[str, object]:
    terms = {
        "sampler": sampler,
        "seed": seed,
        "direction": direction,
        "points": None if points is None else [dict(point) for point in points],
        "distributions": None
        if distributions is None
        else {name: json.loads(distribution_to_json(item)) for name, item in distributions.items()},
        "protocol": None if protocol is None else {**protocol.model_dump(mode="json"), "hash": protocol.hash},
    }
    return json.loads(_canonical(terms))


def _create(
    name: str,
    storage: optuna.storages.BaseStorage,
    direction: Direction,
    terms: dict[str, object],
    *,
    sampler: optuna.samplers.BaseSampler,
) -> optuna.Study:
    try:
        study = optuna.create_study(study_name=name, storage=storage, sampler=sampler, direction=direction)
    except optuna.exceptions.DuplicatedStudyError:
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    study.set_user_attr(TERMS, terms)
    return study


def _stored_terms(study: optuna.Study, name: str) -> dict[str, object] | None:
    """Return the study's terms; None where whoever made it died before it wrote them."""
    deadline = time.monotonic() + _TERMS_PATIENCE_SECONDS
    while TERMS not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise StudyError(
                f"study {name!r} holds trials but no terms: another program made it",
                fix="give another study name or another storage",
            )
        # Making a study and writing its terms are two steps; only its maker takes the second.
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return study.user_attrs[TERMS]


def _differences(stored: Mapping[str, object], given: Mapping[str, object]) -> list[str]:
    found = []
    for key in sorted(stored.keys() | given.keys()):
        old, new = stored.get(key), given.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{key}.{line}" for line in _differences(old, new)]
        else:
            found.append(f"{key} was {_short(old)}, now {_short(new)}")
    return found


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _open_storage(storage: str) -> optuna.storages.BaseStorage:
    if storage.startswith("journal:") or ("://" not in storage and storage.endswith(".log")):
        return _open_journal(Path(storage.removeprefix("journal:")))
    if "://" not in storage:
        raise StudyError(
            f"storage {storage!r} is neither a URL nor a journal file",
            fix="give sqlite:///FILE.db, postgresql://…, journal:FILE, or a path ending in .log",
        )
    return _open_database(storage)


def _open_journal(path: Path) -> optuna.storages.BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileSymlinkLock(str(path)) if _has_symlinks(path.parent) else JournalFileOpenLock(str(path))
        _drop_torn_end(path, lock)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"journal {str(path)!r} does not open: {error}", fix="give a file that can be read and written"
        ) from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudyError(
            f"journal {str(path)!r} is damaged: {type(error).__name__}: {error}",
            fix="delete it and run the same command again: finished runs are kept, and only looked up",
        ) from error


def _drop_torn_end(path: Path, lock: JournalFileSymlinkLock | JournalFileOpenLock) -> None:
    """Cut off a last line without an end: whoever wrote it died at it, and the next line would be joined to it."""
    if not _is_torn(path):
        return
    lock.acquire()  # nobody is in the middle of a line now
    try:
        if _is_torn(path):
            content = path.read_bytes()
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _is_torn(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _has_symlinks(folder: Path) -> bool:
    probe = folder / f".symlink-{uuid.uuid4().hex}"
    try:
        probe.symlink_to("probe")
    except (OSError, NotImplementedError):
        return False
    probe.unlink()
    return True


def _open_database(url: str) -> optuna.storages.BaseStorage:
    file = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", url)
    # SQLite has one writer at a time: the others wait for it rather than fail.
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    for attempt in range(1, _OPEN_ATTEMPTS + 1):
        try:
            if file is not None and file[1] != ":memory:":
                Path(file[1]).parent.mkdir(parents=True, exist_ok=True)
            return optuna.storages.RDBStorage(url, engine_kwargs=dict(options))
        # SQLAlchemy and each driver raise classes of their own, which are not imported here.
        except Exception as error:
            if attempt == _OPEN_ATTEMPTS or not any(sign in str(error) for sign in _RACE_SIGNS):
                raise StudyError(
                    f"storage {_without_password(url, url)} does not open: {_without_password(str(error), url)}",
                    fix="check the URL, that its server runs and that its driver is installed",
                ) from None
            # Different from worker to worker, so that two do not meet again.
            time.sleep(0.02 * attempt + 0.01 * (os.getpid() % 10))
    raise AssertionError("the last attempt returns or raises")


def _without_password(text: str, url: str) -> str:
    found = re.match(r"[^/]+://[^:/@]*:([^@]+)@", url)
    return text if found is None else text.replace(found[1], "***")
