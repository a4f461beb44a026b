"""Search for lm-eval's tasks by name, pattern or file: the user's, the package's own, then those of lm-eval."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.errors import UsageError
from bench.evaluate.tasks.local_tasks import (
    DataFiles,
    TaskConfig,
    lm_eval_tasks,
    own_names,
    owner,
    read_yaml,
    write_own,
)

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

WILD = "*?["
DEFINED = re.compile(r"^[\"']?(?:task|group)[\"']?:[ \t]*[\"']?([^\s\"'\[{|>#]+)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
TAGS = re.compile(r"^[\"']?tag[\"']?:(.*(?:\n[ \t]*-.*)*)", re.MULTILINE)
"""What a task's file calls itself, and its tags as one text."""


class IndexEntry(Protocol):
    """A task, group or tag in the index of lm-eval's task manager."""

    kind: Enum
    cfg: TaskConfig | None
    tags: Collection[str]
    yaml_path: Path | None


Index = Mapping[str, IndexEntry]


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskSource:
    """Requested tasks, as lm-eval's task manager takes them.

    ``names``: of tasks, groups and tags that there are; ``leaves``: for each of them its tasks' settings by name,
    functions unread; ``absent``: why there is nothing, for each other name, as (what is wrong, what to do).
    """

    names: tuple[str, ...]
    leaves: Mapping[str, Mapping[str, TaskConfig]]
    absent: Mapping[str, tuple[str, str]]
    manager: "TaskManager"


def find_tasks(tasks: Sequence[str], *, include: Path | None, data: Path | None, scratch: Path) -> TaskSource:
    """Find tasks as lm-eval's own command line does: by name, by pattern (``arc_*``), by file (``my_task.yaml``).

    A name is looked up in the YAML files below ``include`` first, then among the package's own (``hellaswag_local``),
    then among lm-eval's. Several names may stand in one text, between commas. A file's relative ``data_files`` are
    relative to the file where they lie there, and to the working directory otherwise, as for lm-eval.

    Args:
        data: the folder of documents of the package's own tasks.
        scratch: an empty folder for what is written on the way; it has to stay until the tasks are loaded.

    Raises:
        UsageError: a file that cannot be read.
    """
    from lm_eval.tasks import TaskManager

    requested = list(dict.fromkeys(name for text in tasks for name in text.split(",") if name))
    absent: dict[str, tuple[str, str]] = {}
    requested = [_from_file(name, scratch, absent) if name.endswith(".yaml") else name for name in requested]
    if include is not None:
        for path in sorted(include.rglob("*.yaml")):
            _wrap(path, scratch)
    for definition in sorted({owner(own) or own for name in requested for own in own_names() if _means(name, own)}):
        try:
            for path in write_own(definition, scratch / "own", data=data):
                _wrap(path, scratch)
        except UsageError as error:
            concerned = [name for name in requested if _means(name, definition) or owner(name) == definition]
            absent |= dict.fromkeys(concerned, (error.problem, error.fix or ""))
    folders = [each for each in (include, scratch / "own", scratch / "wrapped") if each is not None and each.is_dir()]
    manager = TaskManager(include_path=folders, include_defaults=False)
    wanted = [name for name in requested if name not in absent]
    if any(_is_open(name, manager.task_index) for name in wanted):
        manager = _with_lm_evals_own(wanted, manager, folders)
    leaves: dict[str, dict[str, TaskConfig]] = {}
    for name in wanted:
        matches = [name] if name in manager.task_index else sorted(n for n in manager.all_tasks if fnmatch(n, name))
        leaves |= {match: dict(_leaves(match, manager.task_index)) for match in matches}
        if not matches:
            absent[name] = (
                f"lm-eval task {name!r} is unknown",
                _hint(name, {*manager.all_tasks, *own_names(), *_listed()[0]}, include),
            )
    return TaskSource(names=tuple(leaves), leaves=leaves, absent=absent, manager=manager)


def files_of(source: TaskSource) -> Iterator[tuple[str, Path]]:
    """Yield (requested name, file) of requested tasks and groups, and of the tasks in these."""
    index = source.manager.task_index
    for name, leaves in source.leaves.items():
        entries = (index.get(each) for each in dict.fromkeys((name, *leaves)))
        paths = (None if entry is None else entry.yaml_path for entry in entries)
        yield from ((name, path) for path in dict.fromkeys(paths) if path is not None)


def local_tasks(include: Path | None) -> dict[str, Path]:
    """Return the YAML file of each task below ``include``."""
    paths = {}
    for path in sorted(include.rglob("*.yaml")) if include is not None else ():
        task = read_yaml(path).get("task")
        if isinstance(task, str):
            paths[task] = path.resolve()
    return paths


def _from_file(source: str, scratch: Path, absent: dict[str, tuple[str, str]]) -> str:
    """Return the name that a task's own file gives it."""
    path = Path(source)
    if not path.is_file():
        absent[source] = (f"lm-eval task file {source} does not exist", "give a YAML file, or a task's name")
        return source
    read = read_yaml(path)
    name = read.get("group") or read.get("task")
    if not isinstance(name, str):
        absent[source] = (f"lm-eval task file {source} names no task", "say `task: NAME` in it")
        return source
    _wrap(path, scratch, always=True)
    return name


def _wrap(path: Path, scratch: Path, *, always: bool = False) -> None:
    """Write a file that includes ``path`` and has its data files absolute, kept in memory: nothing is left behind."""
    import yaml  # type: ignore[import-untyped]

    arguments = dict(read_yaml(path).get("dataset_kwargs") or {})
    if "data_files" in arguments:
        arguments["data_files"] = _absolute(arguments["data_files"], path.resolve().parent)
        arguments |= {"cache_dir": str(scratch / "cache"), "keep_in_memory": True}
    elif not always:
        return
    content = {"include": str(path.resolve()), **({"dataset_kwargs": arguments} if arguments else {})}
    folder = scratch / "wrapped"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{len(list(folder.iterdir())):06}.yaml"
    target.write_text(yaml.safe_dump(content), encoding="utf-8")


def _absolute(files: DataFiles, folder: Path) -> DataFiles:
    if isinstance(files, str):
        beside = folder / files
        return files if "://" in files or not (beside.exists() or any(folder.glob(files))) else str(beside)
    if isinstance(files, Mapping):
        return {split: _absolute(names, folder) for split, names in files.items()}
    return [_absolute(names, folder) for names in files or ()]


def _means(pattern: str, own: str) -> bool:
    """Return whether a pattern means the package's task ``own``; it must end in _local, as ``own`` needs data files."""
    return fnmatch(own, pattern) and pattern.endswith("_local")


def _is_open(name: str, index: Index) -> bool:
    """Return whether only lm-eval's own tasks can say what a name is."""
    if any(letter in name for letter in WILD):
        return not any(_means(name, own) for own in own_names())
    return name not in index or any(config.get("missing") for _, config in _leaves(name, index))


def _leaves(name: str, index: Index) -> Iterator[tuple[str, TaskConfig]]:
    """Yield every task below a task, group or tag, with its settings; ``missing`` where no task has the name."""
    entry = index.get(name)
    if entry is None:
        yield name, {"missing": True}
    elif entry.kind.name == "TAG":
        for member in sorted(entry.tags):
            yield from _leaves(member, index)
    elif entry.kind.name == "GROUP":
        yield from _members(entry.cfg or {}, index)
    else:
        yield name, {**(entry.cfg or {}), "is_class": entry.kind.name == "PY_TASK"}


def _members(group: TaskConfig, index: Index) -> Iterator[tuple[str, TaskConfig]]:
    for member in group.get("task") or ():
        if isinstance(member, str):
            yield from _leaves(member, index)
        elif "group" in member and member["group"] not in index:
            yield from _members(member, index)
        else:
            name = member.get("group") or member["task"]
            # What a group writes out in full is a task of its own.
            yield from _leaves(name, index) if name in index or "dataset_path" not in member else [(name, member)]


def _with_lm_evals_own(names: Sequence[str], local: "TaskManager", folders: Sequence[Path]) -> "TaskManager":
    """Return a task manager that knows lm-eval's own tasks of these names too.

    To index all fifteen thousand takes many seconds, so only the folders that define these are read, and all of them
    where that is not enough: for a tag, or a group of tasks from many folders.
    """
    from lm_eval.tasks import TaskManager

    defined, tags = _listed()
    wanted = {
        n for name in names if name not in local.task_index for n in (name, *filter(_like(name), (*defined, *tags)))
    }
    if not wanted & tags:
        families = sorted({defined[name] for name in wanted & defined.keys()})
        manager = TaskManager(include_path=[*families, *folders], include_defaults=False)
        if not any(_is_open(name, manager.task_index) for name in {*wanted, *names} & {*defined, *local.all_tasks}):
            return manager  # a name that is still unknown is so to all of lm-eval
    return TaskManager(include_path=list(folders))


def _like(pattern: str) -> Callable[[str], bool]:
    return lambda name: fnmatch(name, pattern)


@lru_cache(maxsize=1)
def _listed() -> tuple[Mapping[str, Path], frozenset[str]]:
    """Return the folder of each task and group of lm-eval, and its tags, by reading its files: about a second."""
    home = lm_eval_tasks()
    defined: dict[str, Path] = {}
    tags: set[str] = set()
    for path in sorted(home.rglob("*")):
        if path.suffix in ("", ".yaml") and path.is_file():  # what others include has no suffix, often
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.suffix == ".yaml":
                defined |= {name: home / path.relative_to(home).parts[0] for name in DEFINED.findall(text)}
            tags |= {word.strip("'\"") for block in TAGS.findall(text) for word in re.split(r"[\s,\[\]]+", block)}
    return defined, frozenset(tags - {"", "-", "null"})


def _hint(name: str, known: Collection[str], include: Path | None) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    # lm-eval has some fifteen thousand names: too many to show.
    return f"{hint}tasks in files: {', '.join(local_tasks(include)) or 'none'}; `lm-eval ls tasks` lists lm-eval's own"
