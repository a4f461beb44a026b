"""Owns lm-eval: its tasks run on a model in memory, quietly, and for tasks that lie in files without a network."""

import contextlib
import difflib
import math
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.errors import RunError, UsageError
from bench.evaluate.isolation import offline, quiet, same_environment, same_generators
from bench.evaluate.sampling import evaluating
from bench.report.record import Metric


def run_lm_eval(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    include: Path | None,
    limit: int | None = None,
    batch: int = 64,
    seed: int = 0,
) -> tuple[Metric, ...]:
    """Run tasks through ``lm_eval.simple_evaluate`` on the model as it is in memory.

    A task is looked up first in the YAML files below ``include`` (by its ``task:`` field), then among lm-eval's own.
    Where all tasks lie in files, hub access is off for the call, and data sets are cached in a temporary folder.

    Where a task's context is empty, lm-eval scores a text given its *prefix token* alone: the tokenizer's BOS, or EOS
    where there is none. Whether a context that is not empty begins with BOS is left to the tokenizer's own default.

    Args:
        limit: items of each task, the first ones; None: all.
        seed: of few-shot examples. Global generators are left as they were.

    Returns:
        One metric for each (task, metric) of lm-eval; a filter other than none is part of its name ("exact_match,
        strict-match"). Its split is the one of the task's data that lm-eval scores. Versions: ``task_versions``.

    Raises:
        UsageError: an unknown task. RunError: lm-eval failed.
    """
    local = _local_tasks(include)
    with (
        quiet(),
        same_environment(),
        same_generators(),
        evaluating(model),
        tempfile.TemporaryDirectory() as cache,
    ):
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        own = all(name in local for name in tasks)
        # Indexing lm-eval's own tasks takes seconds, so it is done only where one is asked for.
        manager = TaskManager(include_defaults=not own)
        _check_names(tasks, local=sorted(local), own=manager.all_tasks)
        with offline() if own else contextlib.nullcontext():
            try:
                results = simple_evaluate(
                    model=HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch),
                    tasks=[_read_task(local[name], cache=Path(cache)) if name in local else name for name in tasks],
                    task_manager=manager,
                    limit=limit,
                    log_samples=False,
                    random_seed=seed,
                    numpy_random_seed=seed,
                    torch_random_seed=seed,
                    fewshot_random_seed=seed,
                )
            except Exception as error:
                raise RunError(
                    f"lm-eval failed on {', '.join(tasks)}: {type(error).__name__}: {error}",
                    fix="check the task's file and data; a task of lm-eval's own downloads its data from the hub",
                ) from error
    if results is None:
        raise RunError("lm-eval gives no results on this process", fix="evaluate on local rank 0 only")
    return _metrics(results)


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


def task_versions(tasks: Sequence[str], *, include: Path | None) -> dict[str, str]:
    """Return what names each task's version: a file's own ``metadata: version``, else the version of lm-eval."""
    local = _local_tasks(include)
    own = f"lm-eval {version('lm_eval')}"
    return {
        name: str((_yaml(local[name]).get("metadata") or {}).get("version", "none")) if name in local else own
        for name in tasks
    }


def _metrics(results: Mapping[str, Any]) -> tuple[Metric, ...]:
    """lm-eval keys a number "metric,filter" and its standard error "metric_stderr,filter"."""
    metrics = []
    for task, values in results["results"].items():
        counted = results.get("n-samples", {}).get(task, {}).get("effective", values.get("sample_len", 0))
        config = results.get("configs", {}).get(task, {})
        split = config.get("test_split") or config.get("validation_split") or "test"
        for key, value in values.items():
            name, _, filtered = key.partition(",")
            if not filtered or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{name}_stderr,{filtered}")
            metrics.append(
                Metric(
                    task=task,
                    split=split,
                    name=name if filtered == "none" else key,
                    value=float(value),
                    stderr=float(error) if isinstance(error, int | float) and math.isfinite(error) else None,
                    n=int(counted),
                    higher_is_better=results.get("higher_is_better", {}).get(task, {}).get(name),
                )
            )
    return tuple(metrics)


def _local_tasks(include: Path | None) -> dict[str, Path]:
    """The YAML file of each task below ``include``."""
    found = {}
    for path in sorted(include.rglob("*.yaml")) if include is not None else ():
        task = _yaml(path).get("task")
        if isinstance(task, str):
            found[task] = path.resolve()
    return found


def _yaml(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"lm-eval task file {path} cannot be read: {error}", fix="correct the YAML") from error
    return read if isinstance(read, dict) else {}


def _read_task(path: Path, *, cache: Path) -> dict[str, Any]:
    """Return the task with its data files absolute: relative ones are relative to the YAML file."""
    task = _yaml(path)
    arguments = dict(task.get("dataset_kwargs") or {})
    files = arguments.get("data_files")
    if files is not None:
        arguments["data_files"] = _absolute(files, path.parent)
        arguments["cache_dir"] = str(cache)
    return {**task, "dataset_kwargs": arguments}


def _absolute(files: Any, folder: Path) -> Any:
    if isinstance(files, str):
        return files if "://" in files else str(folder / files)
    if isinstance(files, dict):
        return {split: _absolute(given, folder) for split, given in files.items()}
    return [_absolute(given, folder) for given in files]
