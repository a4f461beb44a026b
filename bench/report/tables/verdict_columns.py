"""Columns of the verdict: each objective against the first row and against the start model."""

import math

from bench.report.analysis.comparison import ObjectiveResult
from bench.report.tables.column import Column, of_result
from bench.report.tables.format import Format


def verdict_columns() -> list[Column]:
    """Return what the comparison says of each objective against the first row, and against the start model."""
    bounds = Format(style="bounds")
    return [
        Column(
            "verdict",
            "verdict",
            of_result(_verdict_text),
            csv="analysis",
            shows={"markdown": Format(), "latex": Format(), "page": Format(), "terminal": Format()},
            numeric=False,
            about=lambda comparison: f"against the first row; equal: within {comparison.verdict.margin:g}",
        ),
        Column(
            "to_first",
            "to first",
            of_result(lambda result: result.to_first.difference),
            csv="analysis",
            bounds=True,
            shows={"markdown": bounds, "page": bounds},
            about="target minus the first row's, paired; intervals hold together for all pairs",
            falling=True,
        ),
        Column(
            "p_to_first",
            "p",
            of_result(lambda result: result.to_first),
            csv="analysis",
            shows={"markdown": Format(), "latex": Format(), "page": Format(), "terminal": Format()},
            about="of no difference to the first row, after Holm's correction",
        ),
        Column("p_equal", "p of a difference", of_result(lambda result: result.to_first.p_equal), csv="analysis"),
        Column("detectable", "detectable", of_result(lambda result: result.to_first.detectable), csv="analysis"),
        Column(
            "to_start",
            "to start",
            of_result(lambda result: result.to_start.difference),
            csv="analysis",
            bounds=True,
            shows={"markdown": bounds, "page": bounds},
            about="target minus the start model's, paired; intervals hold together for all objectives",
            falling=True,
        ),
        Column("p_to_start", "p to start", of_result(lambda result: result.to_start), csv="analysis"),
        Column(
            "start_verdict",
            "than start",
            of_result(_start_text),
            csv="analysis",
            shows={"markdown": Format(), "page": Format()},
            numeric=False,
            about="against the start model",
        ),
        Column("out_at", "out at", of_result(lambda result: result.out_at), csv="analysis"),
    ]


def _verdict_text(result: ObjectiveResult) -> str | None:
    """Return «first» or the word against it, with the seeds at which a race dropped the objective."""
    if result.rank is None:
        return None
    word = result.word or "first"
    return word if result.out_at is None else f"{word}, out at {result.out_at} seeds"


def _start_text(result: ObjectiveResult) -> str | None:
    known = result.rank is not None and not math.isnan(result.to_start.difference.mean)
    return result.to_start.word if known else None
