"""Check of lm-eval tasks before any work: unknown ones, a network, unsafe code, context length."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.evaluate.compat import import_task_function
from bench.evaluate.tasks.documents import Problem, data_problems, exists, flat
from bench.evaluate.tasks.local_tasks import TaskConfig, data_folder, is_lm_evals, read_yaml
from bench.evaluate.tasks.search import TaskSource, files_of, find_tasks
from bench.evaluate.tasks.trust import TRUST, code_in
from bench.utils.isolation import quiet, same_environment

TABLE = "lossbench_table"
"""The kind of a model that is a table of logits: its tokens are no text."""
TEXTS = "generate_until"
"""What lm-eval calls a task of texts that a model generates."""
TEXTS_VERSION = 2
"""Of these texts: an evaluation with such a task has it in its key (``EvaluationSpec.lm_eval_texts``)."""
NEW_TOKENS = 256
"""What lm-eval lets a model generate where a task says nothing."""
NOTICES = ("download", "remote code", "template")
"""Problems that are reported and stop nothing."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem or notice about a requested task, and its fix; of a group, with the number of its tasks."""

    task: str
    problem: Problem
    text: str
    fix: str = ""

    @property
    def stops(self) -> bool:
        """Whether the task cannot be run as it is."""
        return self.problem not in NOTICES


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What matters of a model for whether it can do a task: tokens of context (None: unknown), and its kind."""

    context: int | None = None
    kind: str | None = None


def reader_of(folder: Path) -> Reader:
    """Return what a checkpoint's config says of the tasks that it can do."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    inner = config.get("text_config") or config
    names = ("n_positions", "max_position_embeddings", "n_ctx")
    context = next((inner[name] for name in names if inner.get(name) is not None), None)
    return Reader(context=context, kind=config.get("model_type"))


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Findings about requested tasks, and whether a model generates texts for any of them."""

    findings: tuple[Finding, ...] = ()
    texts: bool = False


def preflight(
    tasks: Sequence[str],
    *,
    include: Path | None,
    data: Path | None = None,
    reader: Reader | None = None,
    trust: bool = False,
) -> tuple[Finding, ...]:
    """Return the findings of ``check_tasks``. Empty: all can be run."""
    return check_tasks(tasks, include=include, data=data, reader=reader, trust=trust).findings


def check_tasks(
    tasks: Sequence[str],
    *,
    include: Path | None,
    data: Path | None = None,
    reader: Reader | None = None,
    trust: bool = False,
) -> Preflight:
    """Say what is wrong with tasks of lm-eval before anything is trained or loaded.

    Nothing is downloaded. Where the hub is needed, it is probed once, for five seconds at most, and not at all with
    ``HF_HUB_OFFLINE=1``. Tasks that are plain files in ``include`` cost milliseconds; others some seconds, for lm-eval
    is imported and its list of tasks read.

    Args:
        data: the folder of documents of the package's own tasks; None: that of the environment.
        trust: whether code that a task file names may run.

    Raises:
        UsageError: a file that cannot be read.
    """
    if not tasks or ((reader is None or reader.kind != TABLE) and _plainly_there(tasks, include)):
        return Preflight()
    with quiet(), same_environment(), tempfile.TemporaryDirectory() as scratch:
        source = find_tasks(tasks, include=include, data=data_folder(data), scratch=Path(scratch))
        configs = [config for leaves in source.leaves.values() for config in leaves.values()]
        # A task in code does not say what it asks for.
        texts = any(config.get("output_type") == TEXTS or config.get("is_class") for config in configs)
        return Preflight(findings=tuple(findings(source, reader or Reader(), trust=trust)), texts=texts)


def refuse(checked: Sequence[Finding]) -> None:
    """Raise a UsageError that names every task which cannot be run, and why; do nothing where there is none."""
    stopping = [each for each in checked if each.stops]
    if stopping:
        raise UsageError(
            "; ".join(dict.fromkeys(each.text for each in stopping)),
            fix="\n    ".join(dict.fromkeys(each.fix for each in stopping if each.fix)) or None,
        )


def findings(source: TaskSource, reader: Reader, *, trust: bool = False) -> Iterator[Finding]:
    """Yield problems and notices about tasks that were looked up; ``trust``: code that their files name may run."""
    for name, (text, fix) in source.absent.items():
        yield Finding(task=name, problem="unknown" if "unknown" in text else "data", text=text, fix=fix)
    if not trust:
        for name, path in files_of(source):
            for text in code_in(path):
                yield Finding(task=name, problem="unsafe code", text=f"task {name} runs code: {text}", fix=TRUST)
    for name, leaves in source.leaves.items():
        counts: dict[tuple[Problem, str, str], int] = {}
        for config in leaves.values():
            for each in _of_task(config, reader, trust=trust):
                counts[each] = counts.get(each, 0) + 1
        for (problem, text, fix), count in counts.items():
            many = f" ({count} of its {len(leaves)} tasks)" if len(leaves) > 1 else ""
            yield Finding(task=name, problem=problem, text=f"task {name}{many} {text}", fix=fix)


def _of_task(config: TaskConfig, reader: Reader, *, trust: bool) -> Iterator[tuple[Problem, str, str]]:
    if config.get("missing"):
        yield "unknown", "has a member that lm-eval does not know", "correct the group's file"
        return
    if config.get("unsafe_code"):
        yield (
            "unsafe code",
            "runs code that the model writes, which this command never does",
            "run it by lm-eval itself, in a container: `lm_eval --confirm_run_unsafe_code`",
        )
    if reader.kind == TABLE:
        yield "model", "needs a model of text; this one is a table", "choose another suite or checkpoint"
    elif config.get("doc_to_image") or config.get("doc_to_audio"):
        yield "model", "shows images or sounds; the model reads text alone", "leave it out"
    elif config.get("output_type") == TEXTS and reader.context is not None:
        wanted = new_tokens(config.get("generation_kwargs") or {})
        if wanted >= reader.context:
            yield (
                "model",
                f"generates {wanted} tokens; the model's context has {reader.context}",
                "choose a task of log-likelihoods, or a model of more context",
            )
    if (config.get("dataset_kwargs") or {}).get("trust_remote_code"):
        yield "remote code", "asks for trust_remote_code, which is never given", ""
    missing = missing_package(config, trust=trust)
    if missing is not None:
        yield "package", f"needs a package that is not installed: {missing}", "`pip install 'lm-eval[…]'` names groups"
    yield from data_problems(config)


def new_tokens(settings: TaskConfig) -> int:
    """Return how many tokens a task's generation settings ask for."""
    names = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
    return int(next((settings[name] for name in names if settings.get(name) is not None), NEW_TOKENS))


def missing_package(config: TaskConfig, *, trust: bool) -> str | None:
    """Return which package the import of a task's functions lacks; None: none, or other errors.

    Functions of files outside lm-eval's own package are imported only with ``trust``.
    """
    for value in config.values():
        if isinstance(value, str) and value.startswith("/") and "\n" not in value:
            if not trust and not is_lm_evals(Path(value)):
                continue
            try:
                import_task_function(value)
            except ModuleNotFoundError as error:
                return str(error)
            except Exception:  # not a function, or one that lm-eval itself will speak of
                continue
    return None


def _plainly_there(tasks: Sequence[str], include: Path | None) -> bool:
    """Return whether every task is a plain file below ``include`` with its data beside it, without lm-eval."""
    known: dict[str, tuple[Path, TaskConfig]] = {}
    for path in sorted(include.rglob("*.yaml")) if include is not None else ():
        read = read_yaml(path)
        if isinstance(read.get("task"), str):
            known[read["task"]] = (path, read)
    for name in tasks:
        if name not in known:
            return False
        path, read = known[name]
        files = list(flat((read.get("dataset_kwargs") or {}).get("data_files")))
        if not files or not all(exists(str(path.parent / each)) for each in files):
            return False
        if "!function" in path.read_text(encoding="utf-8") or {"include", "unsafe_code", "class"} & read.keys():
            return False
        if read.get("output_type") not in ("multiple_choice", "loglikelihood", "loglikelihood_rolling"):
            return False
    return True
