"""Sources of a task's documents: files, the cache of ``datasets``, or a hub that may be out of reach."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from bench.evaluate.tasks.local_tasks import BUILDERS, DataFiles, TaskConfig
from bench.utils.isolation import hub_answers, offline

FILES = (*set(BUILDERS.values()), "csv", "text", "pandas")
"""Builders of ``datasets`` that read files."""

Problem = Literal[
    "unknown", "data", "network", "unsafe code", "model", "package", "download", "remote code", "template"
]


def data_problems(config: TaskConfig) -> Iterator[tuple[Problem, str, str]]:
    """Yield problems and notices about where a task's documents come from."""
    path, arguments = config.get("dataset_path"), dict(config.get("dataset_kwargs") or {})
    if config.get("is_class") or config.get("custom_dataset") or not isinstance(path, str) or not path:
        if not hub_answers():
            yield "download", "gets its data by code of its own, which may need a network", ""
        return
    if path in FILES:
        files = list(flat(arguments.get("data_files")))
        absent = [name for name in files if "://" not in name and not exists(name)]
        if absent:
            yield "data", f"reads {absent[0]}, which does not exist", "correct data_files, or put the file there"
        if not any("://" in name for name in files):
            return
    elif Path(path).exists() or is_cached(path, config.get("dataset_name"), arguments.get("revision")):
        return
    if hub_answers():
        yield "download", f"downloads its data from the hub ({path})", ""
    else:
        yield (
            "network",
            f"needs a network: its data ({path}) is neither on this machine nor in the cache of datasets",
            "where there is a network: `lm_eval --tasks NAME --limit 1 --model dummy` fills the cache; or one of the "
            "tasks NAME_local on files (docs/tasks.md)",
        )


def is_local(config: TaskConfig) -> bool:
    """Return whether a task's documents need no network."""
    return not config.get("is_class") and not config.get("custom_dataset") and not list(data_problems(config))


def flat(files: DataFiles) -> Iterator[str]:
    """Yield every name in a task's ``data_files``."""
    if isinstance(files, str):
        yield files
    elif isinstance(files, Mapping):
        for each in files.values():
            yield from flat(each)
    else:
        for each in files or ():
            yield from flat(each)


def exists(name: str) -> bool:
    """Return whether there is a file of that name or pattern."""
    path = Path(name)
    return path.exists() or any(path.parent.glob(path.name))


def is_cached(path: str, name: str | None, revision: str | None) -> bool:
    """Return whether ``datasets`` finds a data set of the hub without the hub."""
    import datasets

    with offline():
        try:
            datasets.load_dataset_builder(path, name=name, revision=revision)
        except Exception:  # it raises many kinds of errors where there is none
            return False
    return True
