"""Cells of the page's leaderboard: texts, sort keys and drawn intervals of the columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.analysis.comparison import Comparison
from bench.report.analysis.settings import Split
from bench.report.tables.column import Column, Entry, entries
from bench.report.tables.columns import output_columns
from bench.report.tables.format import Format, Value
from bench.report.tables.text import NOTHING
from bench.stats.intervals import Interval
from bench.stats.verdicts import PairVerdict

WIDE, EDGE = 90, 4
"""Width of a drawn interval and the margin at its ends, in its own units."""


@dataclass(frozen=True)
class PageColumn:
    """One column of the page: its texts, the split with which it is visible, and its cells in the rows' order.

    ``falling``: a first sort puts high values on top.
    """

    name: str
    label: str
    unit: str
    about: str
    numeric: bool
    visible: Literal["both", "test", "validation"]
    falling: bool
    cells: tuple["Cell", ...]


@dataclass(frozen=True)
class Plot:
    """An interval drawn on the scale that the rows of a column share, in a box of ``WIDE`` × 12.

    ``low`` and ``high`` are the line's ends (None: no interval), ``mean`` the dot, ``zero`` the tick at 0 (None: it is
    off the scale), ``off`` the end of the scale that the mean lies beyond ("left", "right" or "").
    """

    low: float | None
    mean: float
    high: float | None
    zero: float | None
    off: str


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what stands after it in small, and what it is sorted by (None: always last)."""

    text: str = NOTHING
    spread: str = ""
    key: str | float | None = None
    plot: Plot | None = None


def page_columns(comparison: Comparison) -> list[PageColumn]:
    """Return the columns that have a value in some row; the scores are there once a split."""
    columns = output_columns(comparison.group, "page")
    at = next(index for index, column in enumerate(columns) if column.by_split != "both")
    last = max(index for index, column in enumerate(columns) if column.by_split != "both") + 1
    rows: dict[Split, list[Entry]] = {
        "test": entries(comparison),
        "validation": entries(comparison, split="validation"),
    }
    made = [_page_column(column, rows["test"]) for column in columns[:at]]
    made += [_page_column(column, rows["test"], split="test") for column in columns[at:last]]
    each = [column for column in columns[at:last] if column.by_split == "each"]
    made += [_page_column(column, rows["validation"], split="validation") for column in each]
    made += [_page_column(column, rows["test"]) for column in columns[last:]]
    return [column for column in made if any(cell.key is not None for cell in column.cells)]


def _page_column(column: Column, rows: Sequence[Entry], *, split: Split | None = None) -> PageColumn:
    comparison = rows[0].comparison
    values = [column.value(entry) for entry in rows]
    scale = _scale([value for value in values if isinstance(value, Interval)]) if column.plot else None
    return PageColumn(
        name=column.key if split is None else f"{split}.{column.key}",
        label=column.heading(comparison, "page", unit=False),
        unit=column.unit,
        about=column.explanation(comparison),
        numeric=column.numeric,
        visible=split or "both",
        falling=column.falling,
        cells=tuple(_cell(column, entry, value, scale) for entry, value in zip(rows, values, strict=True)),
    )


def _cell(column: Column, entry: Entry, value: Value, scale: tuple[float, float] | None) -> Cell:
    key = _key(value, column.shows["page"])
    if key is None:
        return Cell()
    text, sign, rest = column.text(entry, "page").partition(" [" if column.shows["page"].style == "bounds" else " ± ")
    plot = _plot(value, scale) if isinstance(value, Interval) and scale is not None else None
    return Cell(text, f"{sign}{rest}".strip(), key=key, plot=plot)


def _key(value: Value, format: Format) -> str | float | None:
    """Return what a cell is sorted by: six digits of a number, or the text; None where there is no value."""
    number = value.mean if isinstance(value, Interval) else value.p if isinstance(value, PairVerdict) else value
    if isinstance(number, str):
        return number or None
    if not isinstance(number, float | int) or math.isnan(number):
        return None
    return float(f"{(100 if format.percent else 1) * number:.6g}")


def _scale(intervals: list[Interval]) -> tuple[float, float] | None:
    """Return the ends of the upper three quarters of the rows, so that one runaway does not flatten all."""
    kept = sorted(intervals, key=lambda each: each.mean)[len(intervals) // 4 :]
    ends = [end for each in kept for end in (each.mean, each.low, each.high) if math.isfinite(end)]
    return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None


def _plot(value: Interval, scale: tuple[float, float]) -> Plot:
    def position(x: float) -> float:
        share = (x - scale[0]) / (scale[1] - scale[0])
        return round(EDGE + (WIDE - 2 * EDGE) * min(1.0, max(0.0, share)), 1)

    known = not math.isnan(value.half)
    return Plot(
        low=position(value.low) if known else None,
        mean=position(value.mean),
        high=position(value.high) if known else None,
        zero=position(0.0) if scale[0] <= 0 <= scale[1] else None,
        off="left" if value.mean < scale[0] else "right" if value.mean > scale[1] else "",
    )
