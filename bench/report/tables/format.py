"""Values of a table as texts for people: numbers with their intervals, p-values, shares."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.report.tables.text import NOTHING, bounds_text, number, p_text
from bench.stats.intervals import Interval, bare
from bench.stats.verdicts import PairVerdict

Value = Interval | PairVerdict | Mapping[str, float] | str | float | None
"""What a column holds in a row; None where it has no value, NaN where nothing was measured."""


@dataclass(frozen=True)
class Format:
    """How an output writes a column.

    ``style``: the mean alone, with ± half its interval, with the interval's ends («range»; «bounds» of a difference);
    «short» is the shortest text of the number, «whole» has its thousands separated. ``percent`` multiplies by 100.
    ``label``: a heading of its own.
    """

    places: int = 3
    style: Literal["mean", "spread", "range", "bounds", "short", "whole"] = "mean"
    percent: bool = False
    label: str | None = None


def value_text(value: Value, format: Format) -> str:
    """Return ``value`` as text: empty for None, a dash for NaN."""
    match value:
        case None:
            return ""
        case str():
            return value
        case PairVerdict():
            return p_text(value.p, value.difference)
        case Interval():
            return _interval_text(value.times(100) if format.percent else value, format)
        case bool() | int():
            return str(value)
        case float():
            return _float_text(value, format)
        case _:
            largest = sorted(value.items(), key=lambda item: (-item[1], item[0]))
            return ", ".join(f"{name} {100 * share:.0f} %" for name, share in largest) or NOTHING


def _interval_text(value: Interval, format: Format) -> str:
    if format.style == "bounds":
        return bounds_text(value, places=format.places)
    text = number(value, places=format.places, spread=format.style == "spread")
    bounded = format.style == "range" and text != NOTHING
    # the ends of such an interval need not be at equal distances from the mean
    return f"{text} ({value.low:.{format.places}f}–{value.high:.{format.places}f})" if bounded else text


def _float_text(value: float, format: Format) -> str:
    if math.isnan(value):
        return NOTHING
    if format.style == "short":
        return f"{value:g}"
    if format.style == "whole":
        return f"{value:,.0f}"
    return number(bare(value), places=format.places)
