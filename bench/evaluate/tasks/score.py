"""Evaluation of a saved checkpoint by lm-eval tasks: `bench evaluate CHECKPOINT --tasks …`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.errors import UsageError
from bench.evaluate.tasks.prompts import PLAIN, Prompting, decide_template, reason_of
from bench.evaluate.tasks.scored_checkpoint import ScoredCheckpoint, TaskScore, write_scores
from bench.evaluate.tasks.scored_documents import write_documents
from bench.utils.console import say
from bench.utils.process import quiet_libraries

if TYPE_CHECKING:
    from lm_eval.result_schema import EvalResults
    from transformers import PreTrainedModel

    from bench.evaluate.tasks.load import ReadyTasks
    from bench.evaluate.tasks.run import TasksOutcome

FILE = "tasks.json"
CHAT = "chat"
"""The suite that trains by the model's chat template."""


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Which tasks checkpoints are scored by, and how; the options mean what they mean to `lm_eval`."""

    tasks: Sequence[str]
    include: Path | None
    num_fewshot: int | None
    limit: float | None
    batch_size: str
    data: Path | None
    results: Path
    prompting: Prompting
    trust: bool = False


def evaluate_tasks(
    checkpoint: str,
    *,
    others: Sequence[str] = (),
    tasks: Sequence[str],
    include: Path | None = None,
    num_fewshot: int | None = None,
    limit: float | None = None,
    batch_size: str = "auto",
    out: Path | None = None,
    data: Path | None = None,
    results: Path = Path("results"),
    prompting: Prompting = PLAIN,
    trust: bool = False,
) -> None:
    """Score a checkpoint by tasks of lm-eval, print a table, and write every number to a JSON file.

    The options mean what they mean to `lm_eval`, and the numbers are those of `lm_eval --model hf` with
    ``dtype=float32``; the command for that is in the file. Further checkpoints are compared with the first, document by
    document.

    Args:
        checkpoint: a local folder, ``run:KEY`` for a finished run of ``results``, or a name on the hub.
        others: more of them.
        tasks: tasks, groups, tags, patterns or YAML files, also several in one text between commas.
        include: a folder of YAML files with tasks of your own.
        num_fewshot: examples before each question; None: as each task says.
        limit: documents of each task, the first ones; below 1: a share of them; None: all.
        batch_size: rows in one forward pass at most, or ``auto``.
        out: a JSON file, or a folder for ``tasks.json``; None: nothing is written.
        data: the folder of documents of the package's own tasks (``hellaswag_local``); None: that of the environment.
        prompting: how prompts are written. Without a choice, by the chat template for a run that trained by it.

    Raises:
        UsageError: an invalid checkpoint, task or option, before anything is computed. RunError: a
            file that cannot be read, or lm-eval failed.
    """
    quiet_libraries()
    names = [checkpoint, *others]
    if len(set(names)) < len(names):
        raise UsageError(f"{checkpoint} is compared with itself", fix="give each checkpoint once")
    if not tasks:
        raise UsageError("--tasks names no task", fix="--tasks hellaswag_local,arc_easy; `lm-eval ls tasks` lists all")
    options = TaskOptions(
        tasks=tasks, include=include, num_fewshot=num_fewshot, limit=limit, batch_size=batch_size, data=data,
        results=results, prompting=prompting, trust=trust,
    )  # fmt: skip
    _batch(batch_size)
    if out is not None and out.suffix not in ("", ".json"):
        raise UsageError(
            f"--out must be a .json file or a folder (got {out}): tasks are written as JSON",
            fix=f"--out {out.with_suffix('.json')}",
        )
    from bench.models.sources import resolve_model

    folders = [resolve_model(name, results=results) for name in names]  # all, before the first is computed
    console = Console(file=sys.stdout)  # as it is now: third parties are silenced while they work
    scored: dict[str, ScoredCheckpoint] = {}
    for name, folder in zip(names, folders, strict=True):
        if others:
            say(console, f"{name}:")
        scored[name] = score_checkpoint(name, folder, options, console=console)
    target = None if out is None else out if out.suffix == ".json" else out / FILE
    if others:
        from bench.evaluate.tasks.compared import report_comparison

        report_comparison(scored, target=target, console=console)
    elif target is not None:
        (one,) = scored.values()
        for written in write_documents(target.parent, one.documents):
            say(console, f"  {written}")
        write_scores(target, {**one.settings, "results": one.rows})
    if target is not None:
        say(console, f"  {target}")


def score_checkpoint(checkpoint: str, folder: Path, options: TaskOptions, *, console: Console) -> ScoredCheckpoint:
    """Score one checkpoint, whose model is in ``folder``, and print its table and what to know of it."""
    from bench.evaluate.tasks.load import ready_tasks
    from bench.evaluate.tasks.preflight import reader_of
    from bench.models.loading import load_tokenizer, model_hash

    tokenizer, prompting = load_tokenizer(folder), options.prompting
    trained_by = _template_of_training(checkpoint, results=options.results)
    say(console, reason_of(prompting.apply_chat_template, tokenizer, trained_by=trained_by))
    by_template = decide_template(prompting.apply_chat_template, tokenizer, trained_by=trained_by)
    prompting = replace(prompting, apply_chat_template=by_template)
    started = time.monotonic()
    ready = ready_tasks(
        options.tasks, include=options.include, data=options.data, num_fewshot=options.num_fewshot,
        limit=options.limit, reader=reader_of(folder), prompting=prompting, tokenizer=tokenizer,
        trust=options.trust,
    )  # fmt: skip
    for finding in ready.notices:
        console.print(finding.text, highlight=False, markup=False)
    prepared = time.monotonic()
    rows, outcome = score(folder, ready, batch=_batch(options.batch_size), console=console)
    done = time.monotonic()
    console.print(result_table(rows))
    for note in dict.fromkeys(f"{row['task']}: {row['differs']}" for row in rows if row["differs"]):
        console.print(note, highlight=False, markup=False)
    for note in outcome.notes:
        console.print(note, highlight=False, markup=False)
    settings = {
        "checkpoint": checkpoint,
        "model_content": model_hash(folder),
        "tasks": list(ready.names),
        "num_fewshot": options.num_fewshot,
        "limit": options.limit,
        "batch_size": options.batch_size,
        "dtype": "float32",
        "seeds": vars(ready.seeds),
        "lm_eval": version("lm_eval"),
        "apply_chat_template": prompting.apply_chat_template,
        "system_instruction": prompting.system_instruction,
        "fewshot_as_multiturn": prompting.multiturn if prompting.apply_chat_template else None,
        "notes": [finding.text for finding in ready.notices] + list(outcome.notes),
        "by_hand": by_hand(
            folder, options.tasks, include=options.include, num_fewshot=options.num_fewshot, limit=options.limit,
            prompting=prompting,
        ),
        "seconds": {"prepare": round(prepared - started, 3), "evaluate": round(done - prepared, 3)},
    }  # fmt: skip
    return ScoredCheckpoint(
        settings=settings, rows=rows, documents=outcome.documents, outcomes=outcome.outcomes,
        uncompared=outcome.uncompared,
    )  # fmt: skip


def _template_of_training(checkpoint: str, *, results: Path) -> str | None:
    """Return what trained a run by its chat template, as far as the run's spec says; None where it does not."""
    from bench.models.adapters import read_run
    from bench.models.sources import RUN, find_run

    if not checkpoint.startswith(RUN):
        return None
    spec = read_run(find_run(checkpoint.removeprefix(RUN), results))
    return f"suite {CHAT}" if spec.suite == CHAT and "form=text" not in spec.data.source else None


def score(
    folder: Path, ready: "ReadyTasks", *, batch: int | str, console: Console
) -> tuple[list[TaskScore], TasksOutcome]:
    """Load a checkpoint, in float32; return its scores, and what each document gave.

    Progress is shown on ``console``.

    Raises:
        RunError: weights that cannot be read, or lm-eval failed.
    """
    import torch

    from bench.evaluate.compat import attention_of, supports_sdpa
    from bench.evaluate.tasks.run import lm_eval_results, outcome_of
    from bench.models.loading import load_model, load_tokenizer
    from bench.utils.progress import Progress

    model: PreTrainedModel = load_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    if attention_of(model.config) == "eager" and supports_sdpa(model):
        # What a model is loaded with suits a backward pass; forward alone, the fused kernel is the faster one.
        model.set_attn_implementation("sdpa")
    tokenizer = load_tokenizer(folder)
    with Progress(console, total=ready.requests, unit="requests") as progress:
        results, notes = lm_eval_results(
            model, tokenizer, ready, batch=batch, progress=lambda count: progress.advance(count, "lm-eval")
        )
    return result_rows(results, ready.versions), outcome_of(results, notes)


def result_rows(results: EvalResults, versions: Mapping[str, str]) -> list[TaskScore]:
    """Return every number of lm-eval as a row: groups before their tasks, as lm-eval orders them."""
    from bench.evaluate.tasks.run import metrics_of

    rows: list[TaskScore] = []
    for metric in metrics_of(results):
        name, _, filtered = metric.name.partition(",")
        config = results["configs"].get(metric.task, {})
        metadata = config.get("metadata") or {}
        shots = results["n-shot"].get(metric.task)
        differs = [metadata.get("differs"), metadata.get("few_shot_differs") if shots else None]
        rows.append(
            {
                "task": metric.task,
                "version": versions.get(metric.task, "none"),
                "n_shot": shots,
                "split": metric.split if config else None,
                "filter": filtered or "none",
                "metric": name,
                "value": metric.value,
                "stderr": metric.stderr,
                "n": metric.n,
                "of": results["n-samples"].get(metric.task, {}).get("original"),
                "higher_is_better": metric.higher_is_better,
                "differs": "; ".join(text for text in differs if text) or None,
            }
        )
    return rows


def result_table(rows: Sequence[TaskScore]) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("task", "left"), ("version", "right"), ("shots", "right"), ("metric", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for name in ("value", "± stderr", "n"):
        table.add_column(name, justify="right")
    for row in rows:
        metric = row["metric"] if row["filter"] == "none" else f"{row['metric']}, {row['filter']}"
        error = "" if row["stderr"] is None else f"{row['stderr']:.4f}"
        shots = "" if row["n_shot"] is None else str(row["n_shot"])
        table.add_row(row["task"], row["version"], shots, metric, f"{row['value']:.4f}", error, str(row["n"]))
    return table


def by_hand(
    folder: Path,
    tasks: Sequence[str],
    *,
    include: Path | None,
    num_fewshot: int | None,
    limit: float | None,
    prompting: Prompting = PLAIN,
) -> str:
    """Return lm-eval's own command for the same numbers; it needs the package's own tasks as written files."""
    words = ["lm_eval", "--model", "hf", "--model_args", f"pretrained={folder},dtype=float32", "--tasks", *tasks]
    for option, value in (("include_path", include), ("num_fewshot", num_fewshot), ("limit", limit)):
        if value is not None:
            words += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    words += prompting.by_hand()
    return shlex.join(words)


def _batch(text: str) -> int | str:
    if text.partition(":")[0] == "auto":  # lm-eval's auto:N measures N times
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(
            f"--batch-size must be auto or a whole number ≥ 1 (got {text!r})", fix="auto, or a whole number from 1"
        )
    return int(text)
