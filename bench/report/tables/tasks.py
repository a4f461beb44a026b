"""Tables and lines of the tests on tasks: what training cost, and what could have been seen."""

from collections.abc import Callable, Iterator, Sequence

from bench.report.analysis.tasks import TaskComparison, TaskTest, worst_seen
from bench.report.tables.column import Column, Entry, Getter
from bench.report.tables.format import Value
from bench.report.tables.text import number, p_text

HEADINGS = ("objective", "task", "start", "now", "difference", "p", "could see", "documents", "clusters")
LISTED = 12
"""Differences between two objectives that are listed at most."""
NAMED = 3
"""Tasks whose smallest drop stands in the line at most; of more, the smallest and the largest."""
NOTES = (
    (
        "difference",
        "percentage points of right answers, objective minus start model on the same documents, with the 95 % interval "
        "of this difference alone.",
    ),
    (
        "p",
        "of no difference, with Holm's correction over all rows here. With `*`, of one seed: that tells two runs "
        "apart, and not yet two objectives; where no documents belong together it is McNemar's exact p.",
    ),
    (
        "could see",
        "the smallest drop, in points, that the test would call one in 80 % of repetitions after this correction, if "
        "it falls evenly on the documents. A smaller one may have happened unseen. Of few seeds it is large: they say "
        "little of what another would do.",
    ),
    (
        "clusters",
        "documents that share a passage, a template, an activity or a subject are right or wrong together. The "
        "interval is for other clusters, and with several seeds for other seeds.",
    ),
)
"""Terms of the table and what they mean, in Markdown."""


def tax_text(comparison: TaskComparison) -> str | None:
    """Return one line on the right answers that training cost, or what loss could have been seen; None of no test."""
    tests = comparison.to_start
    if not tests:
        return None
    return f"alignment tax: {loss_text(tests)}"


def loss_text(tests: Sequence[TaskTest]) -> str:
    """Return which of the tests show a loss, and which loss the others could have shown."""
    lost = sorted((test for test in tests if test.lost), key=lambda test: test.difference.mean)
    rest = [test for test in tests if not test.lost]
    parts = [f"{test.first} {points_text(test)} points on {test.task} (p {_p(test)})" for test in lost[:NAMED]]
    more = [f"and {len(lost) - NAMED} more"] if len(lost) > NAMED else []
    seen = ", ".join([*parts, *more])
    if not rest:
        return seen
    return f"{seen}; elsewhere none seen, {_could(rest)}" if lost else f"none seen, {_could(rest)}"


def _could(tests: Sequence[TaskTest]) -> str:
    drops = sorted(worst_seen(tests).items(), key=lambda item: item[1])
    named = drops if len(drops) <= NAMED else [drops[0], drops[-1]]
    texts = [f"≥ {100 * drop:.1f} points ({task})" for task, drop in named]
    return f"could have seen {(', ' if named is drops else ' to ').join(texts)}"


def _p(test: TaskTest) -> str:
    text = p_text(test.p, test.difference)
    return text if text.startswith("<") else f"= {text}"


def points_text(test: TaskTest) -> str:
    """Return the difference in points with its interval, and a sign."""
    text = number(test.difference.times(100), places=1)
    return text if text.startswith("−") else f"+{text}"


def task_rows(tests: Sequence[TaskTest]) -> list[tuple[str, ...]]:
    """Return the cells of a row for each test, under ``HEADINGS``."""
    return [
        (
            test.first,
            test.task,
            f"{100 * test.means[1]:.1f}",
            f"{100 * test.means[0]:.1f}",
            points_text(test),
            p_text(test.p, test.difference),
            f"{100 * test.smallest:.1f}",
            f"{test.documents:,}",
            "" if test.clustered_by is None else f"{test.clusters:,} by {test.clustered_by}",
        )
        for test in tests
    ]


def between_texts(comparison: TaskComparison) -> list[str]:
    """Return a line for each pair of objectives that differ on a task, the largest first, and one on the others."""
    tests = comparison.between
    different = sorted((test for test in tests if test.differs), key=lambda test: -abs(test.difference.mean))
    lines = [_between_text(test) for test in different[:LISTED]]
    if len(different) > LISTED:
        lines.append(f"{len(different) - LISTED} more pairs differ")
    rest = [test for test in tests if not test.differs]
    if rest:
        other = "no other pair is" if different else "no pair is"
        lines.append(f"{other} told apart, {_could(rest)}")
    return lines


def _between_text(test: TaskTest) -> str:
    high, low = (test.first, test.second) if test.difference.mean > 0 else (test.second, test.first)
    gap = test.difference.times(100 if high == test.first else -100)
    return f"{high} has {number(gap, places=1)} points more than {low} on {test.task} (p {_p(test)})"


def tasks_markdown(comparison: TaskComparison) -> str:
    """Return the section «Tasks», empty where no task was measured by document and nothing is to be said of it."""
    tax = tax_text(comparison)
    if tax is None and not comparison.untested:
        return ""
    text = "\n### Tasks\n\n"
    if tax is not None:
        text += f"**A{tax[1:]}.**\n\n| {' | '.join(HEADINGS)} |\n|---|---|{'---:|' * 6}---|\n"
        text += "".join(f"| {' | '.join(row)} |\n" for row in task_rows(comparison.to_start)) + "\n"
        text += "".join(f"- *{term}*: {meaning}\n" for term, meaning in NOTES)
    text += "".join(f"- Between objectives: {line}.\n" for line in between_texts(comparison))
    return text + "".join(f"- Not tested: {line}.\n" for line in comparison.untested)


def tested_columns(task: str, name: str, label: str) -> Iterator[Column]:
    """Yield the CSV's columns of the test against the start model, beside those of the task's own ``name``."""
    yield Column(
        f"{task}_{name}_minus_start",
        f"{label}, minus start",
        _tested(task, name, lambda test: test.difference),
        csv="tasks",
        bounds=True,
    )
    yield Column(f"{task}_{name}_p", f"{label}, p", _tested(task, name, lambda t: t.p), csv="tasks")
    yield Column(
        f"{task}_{name}_could_see", f"{label}, could see", _tested(task, name, lambda t: t.smallest), csv="tasks"
    )


def _tested(task: str, name: str, get: Callable[[TaskTest], Value]) -> Getter:
    def value(entry: Entry) -> Value:
        test = entry.comparison.tasks.test(entry.setting.objective, task) if entry.result is not None else None
        return None if test is None or test.metric != name else get(test)

    return value
