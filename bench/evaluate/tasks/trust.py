"""Code in task files of a user: found before a task is loaded, and imported only where the user trusts it.

lm-eval imports what ``!function`` names, loads a metric that it does not know by the library ``evaluate``, which runs
the metric's own script, and renders texts by Jinja without a sandbox. Its own tasks are an installed package; a folder
of somebody else's is data, unless ``--trust-tasks`` says otherwise.
"""

import contextlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from bench.errors import UsageError
from bench.evaluate.compat import task_functions, task_templates
from bench.evaluate.tasks.local_tasks import TaskConfig, lm_eval_tasks
from bench.utils.templates import LimitedSandbox

TRUST = "--trust-tasks lets it, where you trust whoever wrote the file"
TAG = "!function"
CODE = "<code>"
"""What stands for a function where a file is only read."""
OPEN_BUILDERS = ("generator", "pandas", "spark", "sql")
"""Builders of ``datasets`` that unpickle, connect or call; some of its versions refuse them by themselves."""
REGEX_SECONDS = 5.0


def code_in(path: Path) -> Iterator[str]:
    """Yield what of a user's task file, and of the files that it includes, is code or leads to code: in a few words.

    Files of lm-eval's own package are not looked at. What cannot be read is left to lm-eval, which says why.
    """
    for file, content, functions in _of_a_user(path.resolve(), set()):
        yield from (f"{TAG} {name} in {file}" for name in functions)
        for metric in _values(content, "metric"):
            if isinstance(metric, str) and metric not in (CODE, *_metrics()):
                yield f"metric {metric!r} in {file} is none of lm-eval's: the library evaluate would run its script"
        if True in _values(content, "hf_evaluate"):
            yield f"hf_evaluate in {file}: the library evaluate would run the metric's script"
        for builder in _values(content, "dataset_path"):
            if builder in OPEN_BUILDERS:
                yield f"dataset_path {builder!r} in {file} does more than read rows"


@contextlib.contextmanager
def tasks_loaded(*, trust: bool) -> Iterator[None]:
    """Let lm-eval import functions of its own package alone, unless the user trusts the tasks.

    Raises:
        UsageError: a file outside of the package that names a function, however it is written.
    """

    def refuse(name: str, folder: Path) -> None:
        if not trust and not folder.resolve().is_relative_to(lm_eval_tasks().resolve()):
            raise UsageError(f"a task file in {folder} runs code: {TAG} {name}", fix=TRUST)

    with task_functions(refuse), contextlib.nullcontext() if trust else _no_scripts():
        yield


@contextlib.contextmanager
def tasks_rendered(*, trust: bool) -> Iterator[None]:
    """Let lm-eval render its texts in a sandbox with limits, each template compiled once.

    By itself it has no sandbox, and compiles a template anew for each document. Trusted tasks are rendered as lm-eval
    does: they may change the lists of a document, which the sandbox refuses.
    """
    from jinja2 import BaseLoader, StrictUndefined

    sandbox = None
    if not trust:
        sandbox = LimitedSandbox(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
        sandbox.filters["regex_replace"] = _replaced
    with task_templates(sandbox) as environment:
        setattr(environment, "from_string", lru_cache(maxsize=256)(environment.from_string))  # noqa: B010
        try:
            yield
        finally:
            delattr(environment, "from_string")


def _replaced(text: str, pattern: str, repl: str, count: int = 0) -> str:
    """Do what lm-eval's filter does, in five seconds at most: some patterns take for ever."""
    import regex  # type: ignore[import-untyped]

    try:
        return str(regex.sub(pattern, repl, text, count=count, timeout=REGEX_SECONDS))
    except TimeoutError:
        raise UsageError(
            f"regex_replace with {pattern!r} takes more than {REGEX_SECONDS:g} seconds on one text",
            fix="write the pattern without nested repetitions",
        ) from None


@contextlib.contextmanager
def _no_scripts() -> Iterator[None]:
    """Let the library evaluate load nothing: what it loads are scripts."""
    import evaluate  # type: ignore[import-untyped]

    def refuse(name: str, *args: object, **kwargs: object) -> NoReturn:
        raise UsageError(f"a task's metric {name!r} is none of lm-eval's own, but a script", fix=TRUST)

    kept, evaluate.load = evaluate.load, refuse
    try:
        yield
    finally:
        evaluate.load = kept


def _of_a_user(path: Path, seen: set[Path]) -> Iterator[tuple[Path, TaskConfig, list[str]]]:
    """Yield (file, content, names of functions) of a file and of what it includes, outside of lm-eval's package."""
    if path in seen or path.is_relative_to(lm_eval_tasks().resolve()):
        return
    seen.add(path)
    try:
        content, functions = _read(path)
    except Exception:  # whatever a file can be
        return
    yield path, content, functions
    included = content.get("include") or ()
    for name in included if isinstance(included, list) else [included]:
        if isinstance(name, str) and name != CODE:
            yield from _of_a_user((path.parent / name).resolve(), seen)


def _read(path: Path) -> tuple[TaskConfig, list[str]]:
    import yaml  # type: ignore[import-untyped]

    functions: list[str] = []

    class Loader(yaml.SafeLoader):
        """Notes functions in place of importing them."""

    def note(loader: "yaml.SafeLoader", node: "yaml.Node") -> str:
        functions.append(re.sub(r"\s+", " ", str(node.value)))
        return CODE

    Loader.add_constructor(TAG, note)
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    return content if isinstance(content, dict) else {}, functions


def _values(content: object, name: str) -> Iterator[object]:
    """Yield what stands under a name anywhere in a file: a group writes its tasks out inside."""
    stack = [content]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if name in each:
                yield each[name]
            stack.extend(each.values())
        elif isinstance(each, list):
            stack.extend(each)


@lru_cache(maxsize=1)
def _metrics() -> frozenset[str]:
    import lm_eval.api.metrics  # noqa: F401  # registers them
    from lm_eval.api.registry import metric_registry

    return frozenset(metric_registry)
