"""YAML definitions of the package's own lm-eval tasks, whose documents are local files."""

import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from bench.errors import UsageError
from bench.evaluate.compat import load_task_yaml

OWN = Path(__file__).parent / "definitions"
DATA = "LOSSBENCH_EVAL_DATA"
"""The environment variable that names the folder of documents where no option does."""
BUILDERS = {".arrow": "arrow", ".parquet": "parquet", ".jsonl": "json", ".json": "json"}
TaskConfig = dict[str, Any]
"""Settings of a task as its YAML file has them: lm-eval fixes neither their names nor their types."""
DataFiles: TypeAlias = "str | Sequence[DataFiles] | Mapping[str, DataFiles] | None"
"""``data_files`` of a task: a name or pattern, or a list or a mapping by split of them."""
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def data_folder(option: Path | None) -> Path | None:
    """Return the folder of documents: the option's, else the environment's, None where neither is set."""
    named = os.environ.get(DATA)
    return option if option is not None or not named else Path(named)


def own_definitions() -> dict[str, Path]:
    """Return the package's task files by name; ``blimp_local`` stands for a group and all its tasks."""
    return {path.stem: path for path in sorted(OWN.glob("*.yaml"))}


def owner(name: str) -> str | None:
    """Return which of the package's files defines a task, None where none does."""
    return name if name in own_definitions() else "blimp_local" if _blimp_set(name) is not None else None


def own_names() -> list[str]:
    """Return every task and group that the package defines."""
    return sorted((*own_definitions(), *(f"blimp_{name}_local" for name in _blimp_sets())))


def write_own(definition: str, folder: Path, *, data: Path | None) -> list[Path]:
    """Write one of the package's definitions as files that lm-eval itself reads (``lm_eval --include_path FOLDER``).

    Each is lm-eval's own file, included whole, but for where the documents come from. A split without files is left
    out, and what that changes stands in the task's metadata: ``differs``, ``few_shot_differs``.

    Args:
        definition: a name of ``own_definitions``; its group's tasks are written with it.
        data: the folder of documents, searched whole: HellaSwag's validation split is every file
            ``…/hellaswag/…/validation/*.arrow`` (or ``validation.jsonl``, ``validation-….parquet``) below it.

    Returns:
        The files written.

    Raises:
        UsageError: no folder, or nothing in it to score.
    """
    if data is None:
        raise UsageError(
            f"task {definition} reads its documents from files, and no folder of them is named",
            fix=f"--data FOLDER, or set {DATA}; docs/tasks.md describes its layout",
        )
    if not data.is_dir():
        raise UsageError(f"task {definition}: the folder of documents {data} does not exist", fix="--data FOLDER")
    task = read_yaml(own_definitions()[definition])
    theirs = lm_eval_tasks() / task["include"]
    if "group" not in task:
        files = list(_files(data, task["folder"]))
        return [_write(folder, definition, _located(theirs, files, data=data, folder=task["folder"]))]
    sets, files = _blimp_sets(), _unpacked(data, task["folder"], folder)
    written = [
        _write(
            folder,
            f"blimp_{name}_local",
            _located(theirs.parent / f"{name}.yaml", files, data=data, folder=task["folder"], stem=name),
        )
        for name in sets
    ]
    members = [f"{name}_local" for name in read_yaml(theirs)["task"]]
    return [*written, _write(folder, definition, {"include": str(theirs), "group": definition, "task": members})]


def _located(theirs: Path, files: Sequence[Path], *, data: Path, folder: str, stem: str | None = None) -> TaskConfig:
    """Return the settings that differ from lm-eval's file ``theirs`` so that its documents come from ``files``.

    Args:
        stem: what a split's files are called where that is not the split's name.
    """
    official = load_task_yaml(theirs)
    named = {key: official[key] for key in SPLITS if official.get(key)}
    by_split = {split: _of_split(files, stem or split) for split in dict.fromkeys(named.values())}
    by_split = {split: those for split, those in by_split.items() if those}
    kept: dict[str, str | None] = {key: split if split in by_split else None for key, split in named.items()}
    scored = kept.get("test_split") or kept.get("validation_split")
    if scored is None:
        wanted = named.get("test_split") or named.get("validation_split")
        raise UsageError(
            f"task {official['task']}_local: no documents below {data}",
            fix=f"put the split {wanted} there as {folder}/{stem or wanted}.jsonl (or .arrow, .parquet)",
        )
    differs = {}
    if scored != (named.get("test_split") or named.get("validation_split")):
        differs["differs"] = f"scored on {scored}, for want of {named['test_split']}"
    examples = named.get("fewshot_split") or named.get("training_split")
    if examples is not None and examples not in by_split:
        differs["few_shot_differs"] = f"few-shot examples from {scored}, without the document, for want of {examples}"
        if named.get("fewshot_split"):
            kept["fewshot_split"] = scored
    kinds = {BUILDERS[path.suffix] for those in by_split.values() for path in those}
    if len(kinds) > 1:
        raise UsageError(
            f"task {official['task']}_local: files of several kinds ({', '.join(sorted(kinds))}) in {data}"
        )
    return {
        "include": str(theirs),
        "task": f"{official['task']}_local",
        "tag": None,
        **kept,
        "dataset_path": kinds.pop(),
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: [str(path) for path in those] for split, those in by_split.items()}},
        "metadata": {**(official.get("metadata") or {}), **differs},
    }


def _files(data: Path, folder: str) -> Iterator[Path]:
    """Yield the files of documents anywhere below a folder of that name."""
    for parent, folders, names in os.walk(data.resolve(), followlinks=True):
        folders.sort()
        if folder in Path(parent).relative_to(data.resolve().parent).parts:
            yield from (Path(parent) / name for name in sorted(names) if Path(name).suffix in BUILDERS)


def _of_split(files: Sequence[Path], split: str) -> list[Path]:
    """Return a split's files: ``…/validation/….arrow``, ``validation.jsonl``, ``validation-00000-of-00001.parquet``."""
    return [
        path
        for path in files
        if path.stem == split
        or path.name.startswith(f"{split}-")
        or (split in path.parts[:-1] and path.name not in ("dataset_info.json", "state.json"))
    ]


def _unpacked(data: Path, folder: str, scratch: Path) -> list[Path]:
    """Return BLiMP's files; from an archive of them where they are not there themselves."""
    files = list(_files(data, folder))
    archive = next(iter(sorted(data.rglob(f"{folder}*.tar.gz"))), None)
    if files or archive is None:
        return files
    target = scratch / "unpacked" / folder
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        for member in opened:
            if (content := opened.extractfile(member)) is not None:  # a file; its folder says nothing here
                (target / Path(member.name).name).write_bytes(content.read())
    return list(_files(target, folder))


def _write(folder: Path, name: str, content: TaskConfig) -> Path:
    import yaml  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def lm_eval_tasks() -> Path:
    """Return lm-eval's folder of tasks without importing lm-eval, which takes a second."""
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tasks"


def _blimp_sets() -> list[str]:
    group = read_yaml(lm_eval_tasks() / read_yaml(own_definitions()["blimp_local"])["include"])
    return [name.removeprefix("blimp_") for name in group["task"]]


def _blimp_set(name: str) -> str | None:
    if not (name.startswith("blimp_") and name.endswith("_local")) or name == "blimp_local":
        return None
    middle = name.removeprefix("blimp_").removesuffix("_local")
    return middle if middle in _blimp_sets() else None


class TaskFunction(str):
    """The name of a function in a task's file, where lm-eval would import it."""

    __slots__ = ()


def is_lm_evals(path: Path) -> bool:
    """Say whether a path lies in lm-eval's own folder of tasks."""
    return path.resolve().is_relative_to(lm_eval_tasks().resolve())


def read_yaml(path: Path) -> TaskConfig:
    """Read a task's file; functions (``!function``) stay names, as ``TaskFunction``, and included files are not read.

    Raises:
        UsageError: it cannot be read.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Knows lm-eval's tag."""

    Loader.add_constructor("!function", lambda loader, node: TaskFunction(loader.construct_scalar(node)))
    try:
        read = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"lm-eval task file {path} cannot be read: {error}", fix="correct the YAML") from error
    return read if isinstance(read, dict) else {}
