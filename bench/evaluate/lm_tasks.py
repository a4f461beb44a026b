"""Owns lm-eval's tasks made ready once: found, loaded, and with their requests built, for every checkpoint to come."""

import contextlib
import difflib
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import RunError, UsageError
from bench.evaluate.isolation import offline, quiet, same_environment, same_generators


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadyTasks:
    """Tasks of lm-eval that need nothing but a model: what ``TaskManager.load`` gives, requests built and kept.

    ``names`` as they were asked for; ``own``: all of them lie in files, so that no hub is needed; ``limit``: items of
    each task, the first ones; ``seed``: of few-shot examples.
    """

    names: tuple[str, ...]
    loaded: dict[str, Any]
    own: bool
    limit: int | None
    seed: int


def ready_tasks(tasks: Sequence[str], *, include: Path | None, limit: int | None = None, seed: int = 0) -> ReadyTasks:
    """Find and load tasks and build their requests, as ``lm_eval.simple_evaluate`` does.

    A task is looked up first in the YAML files below ``include`` (by its ``task:`` field), then among lm-eval's own.
    Where all tasks lie in files, hub access is off for the call, and nothing is left on disk.

    Args:
        limit: items of each task, the first ones; None: all.
        seed: of few-shot examples. Global generators are left as they were.

    Raises:
        UsageError: an unknown task. RunError: lm-eval failed.
    """
    local = local_tasks(include)
    with quiet(), same_environment(), same_generators(), tempfile.TemporaryDirectory() as cache:
        from lm_eval.tasks import TaskManager

        own = all(name in local for name in tasks)
        # Indexing lm-eval's own tasks takes seconds, so it is done only where one is asked for.
        manager = TaskManager(include_defaults=not own)
        _check_names(tasks, local=sorted(local), own=manager.all_tasks)
        given = [_read_task(local[name], cache=Path(cache)) if name in local else name for name in tasks]
        with hub(own), failing(tasks), templates_compiled_once():
            seed_generators(seed)
            loaded = manager.load(given)
            for task in loaded["tasks"].values():
                # As simple_evaluate sets them.
                if task.get_config("num_fewshot") is None:
                    task.set_config(key="num_fewshot", value=0)
                task.set_fewshot_seed(seed=seed)
                task.build_all_requests(limit=limit)
                task.build_all_requests = _emptied(task)
    return ReadyTasks(names=tuple(tasks), loaded=loaded, own=own, limit=limit, seed=seed)


def _emptied(task: Any) -> Callable[..., None]:
    """Stands in for ``build_all_requests``: takes the answers of the last model off the requests that there are."""

    def requests(**settings: Any) -> None:
        for request in task.instances:
            request.resps, request.filtered_resps = [], {}

    return requests


def hub(own: bool) -> contextlib.AbstractContextManager[None]:
    """No hub access where all tasks lie in files."""
    return offline() if own else contextlib.nullcontext()


@contextlib.contextmanager
def failing(tasks: Sequence[str]) -> Iterator[None]:
    """Tell what lm-eval raises as ours."""
    try:
        yield
    except Exception as error:
        raise RunError(
            f"lm-eval failed on {', '.join(tasks)}: {type(error).__name__}: {error}",
            fix="check the task's file and data; a task of lm-eval's own downloads its data from the hub",
        ) from error


def seed_generators(seed: int) -> None:
    """Seed the global generators that a task may read."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def templates_compiled_once() -> Iterator[None]:
    """Let lm-eval keep its compiled templates for a while: by itself it compiles each one anew for each document."""
    from lm_eval.utils import env

    env.from_string = lru_cache(maxsize=256)(env.from_string)
    try:
        yield
    finally:
        del env.from_string


def _check_names(tasks: Sequence[str], *, local: Sequence[str], own: Sequence[str]) -> None:
    known = {*local, *own}
    for name in tasks:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
            raise UsageError(
                f"lm-eval task {name!r} is unknown",
                # lm-eval has some ten thousand names: too many to show.
                fix=f"{hint}tasks in files: {', '.join(local) or 'none'}; `lm-eval ls tasks` lists lm-eval's own",
            )


def local_tasks(include: Path | None) -> dict[str, Path]:
    """The YAML file of each task below ``include``."""
    found = {}
    for path in sorted(include.rglob("*.yaml")) if include is not None else ():
        task = read_yaml(path).get("task")
        if isinstance(task, str):
            found[task] = path.resolve()
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """What a task's file says.

    Raises:
        UsageError: it cannot be read.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"lm-eval task file {path} cannot be read: {error}", fix="correct the YAML") from error
    return read if isinstance(read, dict) else {}


def _read_task(path: Path, *, cache: Path) -> dict[str, Any]:
    """Return the task with its data files absolute: relative ones are relative to the YAML file."""
    task = read_yaml(path)
    arguments = dict(task.get("dataset_kwargs") or {})
    files = arguments.get("data_files")
    if files is not None:
        arguments["data_files"] = _absolute(files, path.parent)
        # In memory, since the folder goes before the data set does.
        arguments |= {"cache_dir": str(cache), "keep_in_memory": True}
    return {**task, "dataset_kwargs": arguments}


def _absolute(files: Any, folder: Path) -> Any:
    if isinstance(files, str):
        return files if "://" in files else str(folder / files)
    if isinstance(files, dict):
        return {split: _absolute(given, folder) for split, given in files.items()}
    return [_absolute(given, folder) for given in files]
