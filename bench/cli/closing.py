"""Last lines of a command that makes tables: the page to open, and the export of the best run."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.core.record import RunRecord
    from bench.report.analysis.analysis import Analysis
    from bench.report.analysis.comparison import Comparison

BEST = "best"
WEIGHTS = ("checkpoint", "adapter")


def closing_lines(analysis: "Analysis", results: Path) -> list[str]:
    """Return «open …/report.html» and the export command of each group's best run, where these are on disk."""
    from bench.report.page.render import PAGE

    lines = [f"open {results / PAGE}"] if (results / PAGE).is_file() else []
    tested = [comparison for comparison in analysis.comparisons if comparison.first is not None]
    whole = {record.protocol for record in analysis.records} <= {group.protocol for group in analysis.groups}
    alone = whole and len(tested) == 1
    option = "" if results == Path("results") else f" --out {shlex.quote(str(results))}"
    for comparison in tested:
        if (run := kept_run(comparison, results)) is not None:
            about = "" if alone else f"  # {run.spec.objective} on {run.spec.suite}"
            lines.append(f"bench export {BEST if alone else f'run:{run.key[:8]}'} --to my-model{option}{about}")
    return lines


def kept_run(comparison: "Comparison", results: Path) -> "RunRecord | None":
    """Return the first seed's run of the first row whose weights are under ``results``, None where none are.

    Seeds are equal by design: the one with the highest score would be the luckiest, and no better.
    """
    first = comparison.first
    tested = () if first is None else first.test
    completed = (record for record in tested if record.status == "completed")
    return next(
        (run for run in completed if any((results / "runs" / run.key / name).is_dir() for name in WEIGHTS)), None
    )


def best_run(results: Path) -> "tuple[RunRecord, str]":
    """Return the run that ``bench export best`` writes, and the verdict's sentence.

    Raises UsageError where nothing was tested, where the first row's weights are not here, and for several tables.
    """
    from bench.report.analysis.analysis import analyse_folder

    comparisons = analyse_folder(results).comparisons
    tested = [comparison for comparison in comparisons if comparison.first is not None]
    if not tested:
        raise UsageError(
            f"no run in {results} has a test score, so none is best", fix="bench run --loss dpo,ipo --sweep beta"
        )
    runs = [kept_run(comparison, results) for comparison in tested]
    if len(tested) > 1:
        known = [f"run:{run.key[:8]} ({run.spec.objective} on {run.spec.suite})" for run in runs if run is not None]
        problem = f"{results} has {len(tested)} tables, whose numbers do not compare, so there is no one best run"
        raise UsageError(problem, fix=f"name the run: {', '.join(known) or 'none has its weights here'}")
    run = runs[0]
    if run is None:
        name = comparisons[0].verdict.first
        raise UsageError(f"the weights of {name}, the first row, are not in {results}", fix="bench export run:KEY")
    return run, tested[0].verdict.text
