"""Outcomes of lm-eval's tasks by document, in clusters: what paired tests of two models need."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from bench.core.record import Metric
from bench.core.task_outcomes import TaskOutcomes, judging_metric, packed
from bench.evaluate.tasks.clusters import Document, cluster_field, cluster_labels

if TYPE_CHECKING:
    from lm_eval.result_schema import EvalResults

Sample = Mapping[str, object]
TOLERANCE = 1e-6
"""Largest distance of the documents' mean from lm-eval's number, which is that mean."""


def outcomes_of(results: EvalResults, metrics: Sequence[Metric]) -> dict[str, TaskOutcomes]:
    """Return the outcomes of each group and of each task that is in none, by name.

    Of a task, the metric that it is judged by (``judging_metric``). Left out is a task whose number is not the mean of
    values between 0 and 1 of its documents: a perplexity, a correlation, a mean of its tasks' means.

    Args:
        metrics: lm-eval's numbers (``metrics_of``).
    """
    samples: Mapping[str, Sequence[Sample]] = results.get("samples") or {}
    made: dict[str, TaskOutcomes] = {}
    inside: set[str] = set()
    for name, leaves in _judged(results):
        if name in inside:
            continue
        known = [leaf for leaf in leaves if samples.get(leaf)]
        outcomes = _outcomes(name, known, samples, results, metrics) if known == leaves else None
        if outcomes is not None:
            made[name] = outcomes
            inside |= {*leaves, *_groups_within(name, results)}
    return made


def uncompared(results: EvalResults, outcomes: Mapping[str, TaskOutcomes]) -> tuple[str, ...]:
    """Return the tasks that are in no outcomes, neither alone nor in a group."""
    groups: Mapping[str, Sequence[str]] = results.get("group_subtasks") or {}
    inside = {leaf for name in outcomes for leaf in _leaves(name, groups)}
    return tuple(sorted(set(results.get("samples") or {}) - inside))


def _judged(results: EvalResults) -> Iterator[tuple[str, list[str]]]:
    """Yield groups with their tasks, larger groups first, then each task alone."""
    groups: Mapping[str, Sequence[str]] = results.get("group_subtasks") or {}
    names = [name for name in groups if groups[name]]
    for name in sorted(names, key=lambda one: (-len(_leaves(one, groups)), one)):
        yield name, _leaves(name, groups)
    for name in sorted(results.get("samples") or {}):
        yield name, [name]


def _leaves(name: str, groups: Mapping[str, Sequence[str]]) -> list[str]:
    members = groups.get(name)
    return sorted({leaf for one in members for leaf in _leaves(one, groups)}) if members else [name]


def _groups_within(name: str, results: EvalResults) -> set[str]:
    groups: Mapping[str, Sequence[str]] = results.get("group_subtasks") or {}
    within = {one for one in groups.get(name, ()) if groups.get(one)}
    return within.union(*(_groups_within(one, results) for one in within))


def _outcomes(
    name: str,
    leaves: Sequence[str],
    samples: Mapping[str, Sequence[Sample]],
    results: EvalResults,
    metrics: Sequence[Metric],
) -> TaskOutcomes | None:
    """Return the outcomes of a group or task; None where its number is no mean over documents."""
    wanted = {m.name: m for m in metrics if m.task == name and m.higher_is_better is not False}
    metric = judging_metric(list(wanted))
    if metric is None:
        return None
    measure, _, filtered = metric.partition(",")
    rows = [
        (leaf, sample)
        for leaf in leaves
        for sample in samples[leaf]
        if sample["filter"] == (filtered or "none") and measure in sample
    ]
    values = [sample[measure] for _, sample in rows]
    numbers = [float(value) for value in values if isinstance(value, Real | np.bool_) and 0 <= float(value) <= 1]
    # lm-eval weights what it aggregates; the mean is checked and not assumed.
    if len(numbers) < max(2, len(values)) or abs(math.fsum(numbers) / len(numbers) - wanted[metric].value) > TOLERANCE:
        return None
    shared, labels = _labels(rows, results)
    sizes = Counter(labels)  # in the order of their first documents
    places = {label: place for place, label in enumerate(sizes)}
    order = sorted(range(len(rows)), key=lambda i: places[labels[i]] if labels else i)
    identity = [[rows[i][0], rows[i][1]["doc_id"], rows[i][1]["doc_hash"]] for i in order]
    return TaskOutcomes(
        metric=metric,
        documents=hashlib.sha256(json.dumps([identity, list(sizes.values())], default=str).encode()).hexdigest()[:16],
        values=packed([numbers[i] for i in order]),
        clustered_by=shared or None,
        clusters=tuple(sizes.values()),
    )


def _labels(rows: Sequence[tuple[str, Sample]], results: EvalResults) -> tuple[str, list[str]]:
    documents: list[Document] = [doc if isinstance(doc := sample.get("doc"), Mapping) else {} for _, sample in rows]
    configs = [results["configs"].get(leaf, {}) for leaf in dict.fromkeys(leaf for leaf, _ in rows)]
    return cluster_labels(documents, [leaf for leaf, _ in rows], field=cluster_field(configs))
