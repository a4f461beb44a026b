"""lm-eval tasks loaded once, with their requests built, for every checkpoint of a run."""

import contextlib
import random
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError, RunError, UsageError
from bench.evaluate.tasks.documents import is_local
from bench.evaluate.tasks.local_tasks import data_folder
from bench.evaluate.tasks.preflight import Finding, Reader, findings, refuse
from bench.evaluate.tasks.prompts import PLAIN, Prompting, notice_of, renderer
from bench.evaluate.tasks.search import find_tasks
from bench.evaluate.tasks.trust import tasks_loaded, tasks_rendered
from bench.utils.isolation import offline, quiet, same_environment, same_generators

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks.manager import TaskDict
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What lm-eval seeds: Python's, numpy's and torch's generators, and its draw of few-shot examples."""

    python: int = 0
    numpy: int = 1234
    torch: int = 1234
    fewshot: int = 1234

    @staticmethod
    def all(seed: int) -> "Seeds":
        """Return seeds that are all the same."""
        return Seeds(python=seed, numpy=seed, torch=seed, fewshot=seed)


LM_EVAL_SEEDS = Seeds()
"""Those of lm-eval's own command line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadyTasks:
    """Tasks of lm-eval that need nothing but a model: what ``TaskManager.load`` gives, requests built and kept.

    Attributes:
        names: as they were requested.
        own: whether all documents are on this machine, so that no hub is needed.
        limit: documents of each task, the first ones; below 1: a share of them.
        versions: of tasks and groups.
        notices: findings of the check that stop nothing.
        trust: whether the user trusts the code in them.
        prompting: how prompts are written; by the template of one tokenizer, where by one.
        trusted: what was tried of other ways to lm-eval's answers, and was equal (``bench.evaluate.tasks.hflm``).
    """

    names: tuple[str, ...]
    loaded: "TaskDict"
    own: bool
    limit: float | None
    seeds: Seeds
    versions: Mapping[str, str]
    notices: tuple[Finding, ...]
    trust: bool = False
    prompting: Prompting = PLAIN
    trusted: set[str] = field(default_factory=set)

    @property
    def requests(self) -> int:
        """Number of requests that a model answers."""
        return sum(request.repeats for task in self.loaded["tasks"].values() for request in task.instances)


def ready_tasks(
    tasks: Sequence[str],
    *,
    include: Path | None,
    data: Path | None = None,
    num_fewshot: int | None = None,
    limit: float | None = None,
    seeds: Seeds = LM_EVAL_SEEDS,
    reader: Reader | None = None,
    prompting: Prompting = PLAIN,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    trust: bool = False,
) -> ReadyTasks:
    """Find and load tasks and build their requests, as ``lm_eval.simple_evaluate`` does.

    Where all documents are local files, hub access is off for the call, and nothing is left on disk.

    Args:
        tasks: names, patterns or files (``find_tasks``).
        include: a folder of YAML files whose tasks are looked up first.
        data: the folder of documents of the package's own tasks; None: that of the environment.
        num_fewshot: examples before each question; None: as the task says. A task that says 0 itself keeps it.
        limit: documents of each task, the first ones; below 1: a share of them; None: all.
        seeds: global generators are left as they were.
        reader: what is known of the models to come, for the check.
        prompting: how prompts are written. With ``apply_chat_template``, by the template of ``tokenizer``.
        trust: whether code that a task file names may run; lm-eval's own tasks always may.

    Raises:
        UsageError: a task that cannot be run (``bench.evaluate.tasks.preflight``). RunError: lm-eval failed.
    """
    if limit is not None and limit <= 0:
        raise UsageError(f"--limit must be above 0 (got {limit:g})", fix="a number of documents, or a share of them")
    with quiet(), same_environment(), same_generators(), tempfile.TemporaryDirectory() as scratch:
        source = find_tasks(tasks, include=include, data=data_folder(data), scratch=Path(scratch))
        notices = tuple(findings(source, reader or Reader(), trust=trust))
        refuse(notices)
        notices += _of_prompts(prompting, tokenizer)
        own = all(is_local(config) for leaves in source.leaves.values() for config in leaves.values())
        with hub(own), failing(source.names), tasks_loaded(trust=trust), tasks_rendered(trust=trust):
            from lm_eval.evaluator_utils import get_sample_size

            render = renderer(tokenizer) if prompting.apply_chat_template and tokenizer is not None else None
            seed_generators(seeds)
            loaded = source.manager.load(list(source.names))
            for task in loaded["tasks"].values():
                _keep_documents(task)
                _set_examples(task, num_fewshot)
                task.set_fewshot_seed(seed=seeds.fewshot)
                task.build_all_requests(
                    limit=get_sample_size(task, limit),
                    system_instruction=prompting.system_instruction,
                    apply_chat_template=bool(prompting.apply_chat_template),
                    fewshot_as_multiturn=prompting.multiturn,
                    chat_template=render,
                )
                task.build_all_requests = _emptied(task)
    return ReadyTasks(
        names=tuple(tasks),
        loaded=loaded,
        own=own,
        limit=limit,
        seeds=seeds,
        versions=_versions(loaded),
        notices=notices,
        trust=trust,
        prompting=prompting,
    )


def _of_prompts(prompting: Prompting, tokenizer: "PreTrainedTokenizerBase | None") -> tuple[Finding, ...]:
    """Return what to know of how prompts are written. Raises UsageError for options that cannot be followed."""
    if tokenizer is None:
        if prompting.apply_chat_template:
            raise ValueError("a chat template is one of a tokenizer: give the tokenizer")
        return ()
    prompting.check(tokenizer)
    text = notice_of(prompting, tokenizer)
    return () if text is None else (Finding(task="", problem="template", text=text),)


def _keep_documents(task: "Task") -> None:
    """Prepare a task's documents once: lm-eval does it again each time that it asks for them or for their number."""
    for split in ("training_docs", "validation_docs", "test_docs"):
        setattr(task, split, lru_cache(maxsize=1)(getattr(task, split)))


def _set_examples(task: "Task", override: int | None) -> None:
    """Set the number of examples as simple_evaluate does: a task's own 0 stays, and without any setting it is 0."""
    configured = task.get_config("num_fewshot")
    if override is not None and configured != 0:
        task.set_config(key="num_fewshot", value=override)
    elif configured is None:
        task.set_config(key="num_fewshot", value=0)


def _versions(loaded: "TaskDict") -> dict[str, str]:
    tasks = {name: task.VERSION for name, task in loaded["tasks"].items()}
    groups = {name: group.version for name, group in (loaded.get("groups") or {}).items()}
    return {name: "none" if version is None else str(version) for name, version in (tasks | groups).items()}


def _emptied(task: "Task") -> Callable[..., None]:
    """Return a replacement for ``build_all_requests`` that removes the last model's answers from the requests."""

    def requests(**settings: object) -> None:
        for request in task.instances:
            request.resps, request.filtered_resps = [], {}

    return requests


def hub(own: bool) -> contextlib.AbstractContextManager[None]:
    """Return a context without hub access where all tasks are files."""
    return offline() if own else contextlib.nullcontext()


@contextlib.contextmanager
def failing(tasks: Sequence[str]) -> Iterator[None]:
    """Raise what lm-eval raises as a RunError."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        raise RunError(
            f"lm-eval failed on {', '.join(tasks)}: {type(error).__name__}: {str(error) or _line_of(error)}",
            fix="check the task's file and data; a task of lm-eval's own downloads its data from the hub",
        ) from error


def _line_of(error: Exception) -> str:
    """Return the line that raised an error without a message, as lm-eval's assertions do."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}"


def seed_generators(seeds: Seeds) -> None:
    """Seed the global generators that a task may read."""
    import torch

    random.seed(seeds.python)
    np.random.seed(seeds.numpy)
    torch.manual_seed(seeds.torch)
