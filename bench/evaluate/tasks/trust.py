"""Code in task files of a user: found before a task is loaded, and imported only where the user trusts it.

lm-eval imports what ``!function`` names, loads a metric that it does not know by the library ``evaluate``, which runs
the metric's own script, and renders texts by Jinja without a sandbox. Its own tasks are an installed package; a folder
of somebody else's is data, unless ``--trust-tasks`` says otherwise.
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from bench.errors import UsageError
from bench.evaluate.compat import task_functions, task_templates
from bench.evaluate.tasks.local_tasks import TaskConfig, TaskFunction, is_lm_evals, read_yaml
from bench.utils.templates import LimitedSandbox

TRUST = "--trust-tasks lets it, where you trust whoever wrote the file"
TAG = "!function"
OPEN_BUILDERS = ("generator", "pandas", "spark", "sql")
"""Builders of ``datasets`` that unpickle, connect or call; some of its versions refuse them by themselves."""
REGEX_SECONDS = 5.0


def code_in(path: Path) -> Iterator[str]:
    """Yield what of a user's task file, and of the files that it includes, is code or leads to code: in a few words.

    Files of lm-eval's own package are not looked at. What cannot be read is left to lm-eval, which says why.
    """
    for file, content in _of_a_user(path.resolve(), set()):
        functions = (each for _, each in _fields(content) if isinstance(each, TaskFunction))
        yield from (f"{TAG} {' '.join(name.split())} in {file}" for name in functions)
        for metric in _values(content, "metric"):
            if isinstance(metric, str) and not isinstance(metric, TaskFunction) and metric not in _metrics():
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
        if not trust and not is_lm_evals(folder):
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


def _of_a_user(path: Path, seen: set[Path]) -> Iterator[tuple[Path, TaskConfig]]:
    """Yield (file, content) of a file and of what it includes, outside of lm-eval's package."""
    if path in seen or is_lm_evals(path):
        return
    seen.add(path)
    try:
        content = read_yaml(path)
    except Exception:  # whatever a file can be
        return
    yield path, content
    included = content.get("include") or ()
    for name in included if isinstance(included, list) else [included]:
        if isinstance(name, str) and not isinstance(name, TaskFunction):
            yield from _of_a_user((path.parent / name).resolve(), seen)


def _values(content: object, name: str) -> list[object]:
    """Return what stands under a name anywhere in a file: a group writes its tasks out inside."""
    return [value for key, value in _fields(content) if key == name]


def _fields(content: object) -> Iterator[tuple[object, object]]:
    """Yield all that stands in a file, each value with its name, elements of a list with none."""
    stack, seen = [content], set[int]()
    while stack:
        each = stack.pop()
        if id(each) in seen or not isinstance(each, dict | list):
            continue
        seen.add(id(each))  # an alias of YAML may lead back
        below = list(each.items()) if isinstance(each, dict) else [(None, one) for one in each]
        yield from below
        stack.extend(value for _, value in below)


@lru_cache(maxsize=1)
def _metrics() -> frozenset[str]:
    import lm_eval.api.metrics  # noqa: F401  # registers them
    from lm_eval.api.registry import metric_registry

    return frozenset(metric_registry)
