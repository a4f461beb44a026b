"""The page's part on lm-eval's tasks: a line on what training cost, and the tests against the start model."""

from dataclasses import dataclass

from bench.report.analysis.tasks import TaskComparison
from bench.report.tables.tasks import HEADINGS, NOTES, between_texts, task_rows, tax_text

TEXTS = ("objective", "task", "clusters")
"""Headings of columns of words."""


@dataclass(frozen=True)
class TasksPart:
    """What the page says of tasks; ``tax`` is None, and there are no rows, where nothing was tested."""

    tax: str | None
    headings: list[tuple[str, bool]]
    rows: list[tuple[tuple[str, bool], ...]]
    terms: list[tuple[str, str]]
    between: list[str]
    untested: list[str]


def tasks_part(comparison: TaskComparison) -> TasksPart:
    """Return the part; each heading and cell comes with whether it is a number."""
    numeric = [name not in TEXTS for name in HEADINGS]
    rows = [tuple(zip(row, numeric, strict=True)) for row in task_rows(comparison.to_start)]
    return TasksPart(
        tax=tax_text(comparison),
        headings=list(zip(HEADINGS, numeric, strict=True)),
        rows=rows,
        terms=[(term, meaning.replace("`", "")) for term, meaning in NOTES],
        between=between_texts(comparison),
        untested=list(comparison.untested),
    )
