"""Loaded lm-eval tasks run on a model in memory, and their results as metrics."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.core.record import Metric
from bench.core.task_outcomes import TaskOutcomes
from bench.errors import RunError
from bench.evaluate.tasks.load import ReadyTasks, failing, hub, seed_generators
from bench.evaluate.tasks.outcomes import outcomes_of, uncompared
from bench.evaluate.tasks.scored_documents import DocumentRow, documents_of
from bench.evaluate.tasks.trust import tasks_rendered
from bench.models.eval_mode import evaluating
from bench.utils.isolation import quiet, same_environment, same_generators

if TYPE_CHECKING:
    from lm_eval.result_schema import EvalResults
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TasksOutcome:
    """What tasks of lm-eval gave a model.

    Attributes:
        metrics: one for each (task, metric); a filter other than none is part of its name ("exact_match,strict-match").
            Its split is the one of the task's data that lm-eval scores.
        documents: a row for each document, by task.
        outcomes: what was right on each document, by group and task, for paired tests.
        uncompared: tasks without outcomes: their numbers are no means over documents.
        notes: what was answered by lm-eval's own way, and why.
    """

    metrics: tuple[Metric, ...] = ()
    documents: Mapping[str, Sequence[DocumentRow]] = field(default_factory=dict)
    outcomes: Mapping[str, TaskOutcomes] = field(default_factory=dict)
    uncompared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def run_lm_eval(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: ReadyTasks,
    *,
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
) -> TasksOutcome:
    """Run tasks through ``lm_eval.evaluate`` on the model as it is in memory. Their versions: ``tasks.versions``.

    Args:
        progress: called with the number of requests that were just answered.

    Raises:
        RunError: lm-eval failed.
    """
    results, notes = lm_eval_results(model, tokenizer, tasks, batch=batch, progress=progress)
    return outcome_of(results, notes)


def outcome_of(results: EvalResults, notes: Sequence[str]) -> TasksOutcome:
    """Return lm-eval's results as metrics, documents and outcomes."""
    metrics = metrics_of(results)
    outcomes = outcomes_of(results, metrics)
    return TasksOutcome(
        metrics=metrics,
        documents=documents_of(results),
        outcomes=outcomes,
        uncompared=uncompared(results, outcomes),
        notes=tuple(notes),
    )


def lm_eval_results(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: ReadyTasks,
    *,
    batch: int | str = 64,
    progress: Callable[[int], None] | None = None,
) -> tuple[EvalResults, tuple[str, ...]]:
    """Return what ``lm_eval.evaluate`` gives for a model: ``results``, ``groups``, ``n-samples``, …; and notes.

    The numbers are those of ``lm_eval.simple_evaluate``, which loads the tasks anew for each call, builds their
    requests again, and asks the system for its packages and for git's.

    Where a task's context is empty, lm-eval scores a text given its *prefix token* alone: the tokenizer's BOS, or EOS
    where there is none. Whether a context that is not empty begins with BOS is left to the tokenizer's own default.
    Global generators are left as they were.

    Args:
        batch: rows in one forward pass at most; ``auto``: as many as pay.
        progress: called with the number of requests that were just answered.

    Raises:
        RunError: lm-eval failed.
    """
    with quiet(), same_environment(), same_generators(), evaluating(model):
        from lm_eval import evaluate

        from bench.evaluate.tasks.hflm import BranchingLM

        with hub(tasks.own), failing(tasks.names), tasks_rendered(trust=tasks.trust):
            seed_generators(tasks.seeds)
            lm = BranchingLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch)
            lm.progress, lm.trusted = progress or lm.progress, tasks.trusted
            results = evaluate(
                lm=lm,
                task_dict=tasks.loaded,
                limit=tasks.limit,
                log_samples=True,
                # Requests are built: these only tell lm-eval how.
                system_instruction=tasks.prompting.system_instruction,
                apply_chat_template=bool(tasks.prompting.apply_chat_template),
                fewshot_as_multiturn=tasks.prompting.multiturn,
            )
    if results is None:
        raise RunError("lm-eval gives no results on this process", fix="evaluate on local rank 0 only")
    notes = tuple(dict.fromkeys(lm.notes))
    for note in notes:
        logger.warning("lm-eval: %s", note)
    return results, notes


def metrics_of(results: EvalResults) -> tuple[Metric, ...]:
    """Return lm-eval's numbers as metrics.

    Its key of a number is "metric,filter", that of its standard error "metric_stderr,filter".
    """
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
