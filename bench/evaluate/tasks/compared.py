"""Comparison of checkpoints on tasks of lm-eval, document by document: what `bench evaluate A B --tasks …` adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from bench.evaluate.tasks.scored_checkpoint import ScoredCheckpoint, write_scores
from bench.evaluate.tasks.scored_documents import write_documents
from bench.report.analysis.tasks import TaskComparison, TaskTest, against_first
from bench.report.tables.tasks import HEADINGS, between_texts, loss_text, task_rows
from bench.utils.console import say


def report_comparison(scored: Mapping[str, ScoredCheckpoint], *, target: Path | None, console: Console) -> None:
    """Print the paired tests of all checkpoints against the first, and of each two; write all to ``target``.

    Documents are written to a folder for each checkpoint beside it, ``checkpoint-1/tasks`` and so on.
    """
    first = next(iter(scored))
    comparison = against_first({name: each.outcomes for name, each in scored.items()}, first=first)
    lines = comparison_lines(comparison, scored)
    for name in comparison.models:
        say(console, f"{name} against {first}, in percentage points:")
        console.print(test_table([test for test in comparison.to_start if test.first == name]))
    for line in lines:
        say(console, line)
    if target is None:
        return
    checkpoints = []
    for number, each in enumerate(scored.values(), 1):
        folder = target.parent / f"checkpoint-{number}"
        for written in write_documents(folder, each.documents):
            say(console, f"  {written}")
        checkpoints.append({**each.settings, "documents": folder.name, "results": each.rows})
    tests = [*comparison.to_start, *(comparison.between if len(comparison.models) > 1 else ())]
    content = {"checkpoints": checkpoints, "comparisons": list(map(test_json, tests)), "summary": lines}
    write_scores(target, content)


def comparison_lines(comparison: TaskComparison, scored: Mapping[str, ScoredCheckpoint]) -> list[str]:
    """Return what the tests say, and which tasks have none."""
    first = next(iter(scored))
    lines = [f"loss against {first}: {loss_text(comparison.to_start)}"] if comparison.to_start else []
    if len(comparison.models) > 1:
        lines += between_texts(comparison)
    uncompared = sorted({task for each in scored.values() for task in each.uncompared})
    if uncompared:
        lines.append(f"not compared, since no mean over documents of values from 0 to 1: {', '.join(uncompared)}")
    return [*lines, *comparison.untested]


def test_table(tests: Sequence[TaskTest]) -> Table:
    """Return the tests of one checkpoint as a table for the terminal; clusters are in the file."""
    kept = HEADINGS[1:-1]
    table = Table(box=None, pad_edge=False)
    for name in kept:
        justify: Literal["left", "right"] = "left" if name == "task" else "right"
        table.add_column({"start": "first"}.get(name, name), justify=justify, overflow="fold")
    for row in task_rows(tests):
        table.add_row(*row[1:-1])
    return table


def test_json(test: TaskTest) -> dict[str, object]:
    """Return a test as the file has it: shares of documents, not points."""
    gap = test.difference
    return {**asdict(test), "difference": gap.mean, "low": gap.low, "high": gap.high}
