"""Paired tests on lm-eval's tasks: each objective against the start model and against each other, document by document.

A test needs the outcome of each document (``RunRecord.outcomes``) of both sides on the same documents. Records from
before outcomes were kept have none, and are named as such.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.core.record import START, RunRecord
from bench.core.task_outcomes import TaskOutcomes
from bench.report.analysis.settings import Group
from bench.stats.clustered import Variances, clustered_tests, mcnemar, pooled, smallest_seen, variances
from bench.stats.intervals import LEVEL, Interval
from bench.stats.paired import holm

Outcomes = Mapping[str, TaskOutcomes]
Runs = Mapping[int, Outcomes]
"""The outcomes of one objective (or model) by seed."""


@dataclass(frozen=True)
class TaskTest:
    """The difference of two models' right answers on one task, first − second, as a share of its documents.

    Attributes:
        means: share of right answers of each side, over its seeds here.
        p: of no difference, after Holm's correction over the family of tests that it stands in.
        smallest: the smallest drop that this test would see in 80 % of repetitions, at the level of Holm's first step.
        clusters: how many clusters of documents there are; as many as documents where each stands alone.
        exact: whether p is that of McNemar's exact test, of one run against one.
    """

    first: str
    second: str
    task: str
    metric: str
    means: tuple[float, float]
    difference: Interval
    p: float
    smallest: float
    documents: int
    clusters: int
    clustered_by: str | None
    exact: bool

    @property
    def differs(self) -> bool:
        """Whether the difference is one after correction."""
        return self.p < 1 - LEVEL

    @property
    def lost(self) -> bool:
        """Whether the first is worse, after correction."""
        return self.differs and self.difference.mean < 0


@dataclass(frozen=True)
class _Pair:
    """Outcomes of two sides on the same documents, and what follows from them."""

    first: str
    second: str
    task: str
    one: TaskOutcomes
    scores: tuple[NDArray[np.float64], NDArray[np.float64]]
    estimate: Variances


@dataclass(frozen=True)
class TaskComparison:
    """The tests of one group. ``untested``: why a task, or a side of it, has no test, one line each."""

    models: tuple[str, ...]
    runs: Mapping[str, Runs]
    start: str | None
    untested: tuple[str, ...]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks with outcomes, sorted."""
        return tuple(sorted({task for runs in self.runs.values() for each in runs.values() for task in each}))

    @cached_property
    def to_start(self) -> tuple[TaskTest, ...]:
        """Each objective against the start model on each task, corrected together: what training cost or gave."""
        return self._tests([(name, self.start) for name in self.models if self.start is not None])

    @cached_property
    def between(self) -> tuple[TaskTest, ...]:
        """Each objective against each other one on each task, corrected together."""
        return self._tests(list(combinations(self.models, 2)))

    def test(self, name: str, task: str) -> TaskTest | None:
        """Return the test of one objective against the start model on one task, None where there is none."""
        return next((each for each in self.to_start if (each.first, each.task) == (name, task)), None)

    def _tests(self, pairs: Sequence[tuple[str, str]]) -> tuple[TaskTest, ...]:
        made = [self._pair(first, second, task) for task in self.tasks for first, second in pairs]
        usable = [pair for pair in made if pair is not None]
        estimates = pooled([pair.estimate for pair in usable], independent=len(self.models) * len(self.tasks))
        tests = clustered_tests(estimates)
        exact = [_is_exact(pair) for pair in usable]
        ps = [
            mcnemar(pair.scores[0][0], pair.scores[1][0]) if is_exact else test.p
            for pair, test, is_exact in zip(usable, tests, exact, strict=True)
        ]
        level = 1 - (1 - LEVEL) / max(len(ps), 1)
        return tuple(
            TaskTest(
                first=pair.first,
                second=pair.second,
                task=pair.task,
                metric=pair.one.metric,
                means=(float(pair.scores[0].mean()), float(pair.scores[1].mean())),
                difference=test.difference,
                p=p,
                smallest=smallest_seen(test.variances, level=level),
                documents=len(pair.one.values),
                clusters=test.variances.clusters,
                clustered_by=pair.one.clustered_by,
                exact=is_exact,
            )
            for pair, test, p, is_exact in zip(usable, tests, holm(ps), exact, strict=True)
        )

    def _numbers(self, outcomes: TaskOutcomes) -> NDArray[np.float64]:
        """Return the values of outcomes, turned into numbers once for all pairs."""
        if id(outcomes) not in self._known:
            self._known[id(outcomes)] = np.array(outcomes.numbers)
        return self._known[id(outcomes)]

    @cached_property
    def _known(self) -> dict[int, NDArray[np.float64]]:
        return {}

    def _pair(self, first: str, second: str, task: str) -> _Pair | None:
        """Return two sides on their common seeds; the start model is one model, whatever the seed."""
        left = {seed: each[task] for seed, each in self.runs.get(first, {}).items() if task in each}
        right = {seed: each[task] for seed, each in self.runs.get(second, {}).items() if task in each}
        if second == self.start and right:
            right = dict.fromkeys(left, next(iter(right.values())))
        seeds = sorted(left.keys() & right.keys())
        every = [side[seed] for side in (left, right) for seed in seeds]
        if not seeds or len({each.documents for each in every}) > 1 or len(every[0].clusters) == 1:
            return None
        one, other = (np.stack([self._numbers(side[seed]) for seed in seeds]) for side in (left, right))
        estimate = variances(one - other, every[0].clusters, binary=all(each.binary for each in every))
        return _Pair(first, second, task, every[0], (one, other), estimate)


def _is_exact(pair: _Pair) -> bool:
    alone = not pair.one.clusters or max(pair.one.clusters) == 1
    return pair.estimate.count == 1 and alone and pair.estimate.step > 0


def compare_tasks(group: Group, *, order: Sequence[str] = ()) -> TaskComparison:
    """Return the tests of the best settings of ``group`` on test records, in the ``order`` of objectives."""
    names = [*order, *(name for name in group.objectives if name not in order)]
    records = {name: best.test for name in names if (best := group.best(name)) is not None and best.test}
    runs = {name: _runs(each) for name, each in records.items()}
    start = group.start.test if group.start is not None else ()
    if start:
        runs[START] = dict(list(_runs(start).items())[:1])
        records[START] = start
    models = tuple(name for name in names if runs.get(name))
    comparison = TaskComparison(models, runs, START if runs.get(START) else None, ())
    return replace(comparison, untested=tuple(_untested(records, comparison)))


def _runs(records: Sequence[RunRecord]) -> Runs:
    return {r.spec.seed: r.outcomes for r in records if r.status == "completed" and r.outcomes}


def _untested(records: Mapping[str, Sequence[RunRecord]], comparison: TaskComparison) -> list[str]:
    """Return why there are fewer tests than tasks were measured."""
    lines = []
    old = sorted(
        name
        for name, each in records.items()
        if any(record.evaluation.lm_eval and record.status == "completed" and not record.outcomes for record in each)
    )
    if old:
        named = f"{', '.join(old)}: " if len(old) < len(records) else ""
        lines.append(f"{named}records from before the outcome of each document was kept, so without paired tests")
    uncompared = sorted({task for each in records.values() for r in each for task in _uncompared(r)})
    if uncompared:
        lines.append(f"{', '.join(uncompared)}: no mean over documents of values from 0 to 1")
    return lines + _unequal(comparison)


def _uncompared(record: RunRecord) -> list[str]:
    return list(record.provenance.get("lm_eval_uncompared", ()))


def _unequal(comparison: TaskComparison) -> list[str]:
    """Return on which tasks sides have other documents, or too few clusters."""
    lines = []
    for task in comparison.tasks:
        answered = {
            name: {each[task].documents for each in runs.values() if task in each}
            for name, runs in comparison.runs.items()
        }
        if len(set().union(*answered.values())) > 1:
            lines.append(f"{task}: not all were scored on the same documents, and only those that were are compared")
        if any(
            len(each[task].clusters) == 1 for runs in comparison.runs.values() for each in runs.values() if task in each
        ):
            lines.append(f"{task}: all documents are one cluster, so that nothing says how far a new one would differ")
    return lines


def against_first(models: Mapping[str, Outcomes], *, first: str) -> TaskComparison:
    """Return the tests of single models, the others against ``first``, which stands for the start model."""
    others = tuple(name for name in models if name != first)
    comparison = TaskComparison(others, {name: {0: each} for name, each in models.items()}, first, ())
    return replace(comparison, untested=tuple(_unequal(comparison)))


def worst_seen(tests: Sequence[TaskTest]) -> dict[str, float]:
    """Return by task the smallest drop that every one of the tests could have seen."""
    seen: dict[str, float] = {}
    for test in tests:
        if math.isfinite(test.smallest):
            seen[test.task] = max(seen.get(test.task, 0.0), test.smallest)
    return seen
