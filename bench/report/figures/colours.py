"""The colour and marker of each objective, the same in every figure, and which of many objectives a figure names.

A colour is a function of the objective's name alone, so that it is the same between figures, commands and papers: the
best-known objectives have theirs in a table, each another one; the rest take one of the twelve by the hash of their
name. A marker is found the same way. Two objectives of one hash share a colour; where both are named in one figure and
share the marker too, the later name takes the next free marker, so that no two named objectives look the same.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.analysis.settings import Group, interval

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#661100",
    "#332288",
    "#999933",
    "#117733",
    "#882255",
    "#4A6274",
)
"""Okabe and Ito's (yellow and black left out) and six of Tol's darker ones: no two are one to colour-blind readers."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "p", "<", ">", "d")
PALE = "#C4C4C4"
"""Of objectives that a figure does not name."""
NAMED = 12
"""As many objectives as a figure names."""
KNOWN = ("dpo", "ipo", "kto", "simpo", "orpo", "cdpo", "sdpo", "sft", "cpo", "slic", "robust", "tr_dpo")
"""Objectives with a colour of their own, in the palette's order. New ones go to the end: figures are to stay."""


@dataclass(frozen=True)
class Look:
    """How an objective is drawn; ``named``: it has a colour and stands in the legend."""

    color: str
    marker: str
    named: bool


def colour_of(objective: str) -> str:
    """Return an objective's colour, which depends on nothing but its name."""
    return COLOURS[_index(objective, "colour", len(COLOURS))]


def looks(ordered: Sequence[str]) -> dict[str, Look]:
    """Return the look of each objective, given best first: the first twelve are named, the rest pale dots."""
    named = ordered[:NAMED]
    markers = _markers(named)
    coloured = {name: Look(colour_of(name), markers[name], True) for name in named}
    return coloured | {name: Look(PALE, "o", False) for name in ordered[NAMED:]}


def best_first(group: Group) -> list[str]:
    """Return the objectives by their best setting's test target, those without one by validation, then by name."""

    def score(name: str) -> tuple[float, float, str]:
        best = group.best(name)
        means = [interval(best.records(split), "target").mean if best else math.nan for split in ("test", "validation")]
        test, validation = (math.inf if math.isnan(mean) else -mean for mean in means)
        return test, validation, name

    return sorted(group.objectives, key=score)


def _markers(names: Iterable[str]) -> dict[str, str]:
    """Return a marker for each name, so that no two of one colour share theirs; known names keep their own."""
    taken: set[tuple[str, str]] = set()
    markers = {}
    for name in sorted(names, key=lambda name: (name not in KNOWN, name)):
        first = _index(name, "marker", len(MARKERS))
        turn = [MARKERS[(first + step) % len(MARKERS)] for step in range(len(MARKERS))]
        markers[name] = next(marker for marker in turn if (colour_of(name), marker) not in taken)
        taken.add((colour_of(name), markers[name]))
    return markers


def _index(name: str, what: str, count: int) -> int:
    if name in KNOWN:
        return KNOWN.index(name)
    return int.from_bytes(hashlib.sha256(f"{what} {name}".encode()).digest()[:8], "big") % count
