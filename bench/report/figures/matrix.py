"""The figures of objectives against each other: how often one wins over another, and which do not differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.report.analysis.comparison import matched
from bench.report.analysis.settings import Group
from bench.report.figures.colours import Look, best_first, looks
from bench.report.figures.saving import Drawing, Row
from bench.report.figures.style import GREY, LETTER, Columns, Style, new_figure
from bench.stats.intervals import LEVEL
from bench.stats.paired import holm, paired_tests, probability_of_improvement
from bench.stats.ranks import average_ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 8
"""Objectives that one column holds."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Versus:
    """Objective → test targets (seeds, prompts), best mean first; each pair's p and Holm's p over all pairs.

    A pair names the better objective first.
    """

    scores: dict[str, NDArray[np.float64]]
    p: dict[Pair, float]
    adjusted: dict[Pair, float]

    def differ(self, one: str, other: str) -> bool:
        """Return whether the test tells two objectives apart once it is corrected for all pairs."""
        p = self.adjusted.get((one, other), self.adjusted.get((other, one), 1.0))
        return p < 1 - LEVEL


CELL, LINE, LANE = 0.23, 0.15, 0.055
"""Side of a matrix's cell; height of a name, and of a bar with its distance to the next: inches of paper."""


def comparisons(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw win matrix and mean ranks of the best settings on test, from one set of paired tests."""
    tests = versus(group)
    if len(tests.scores) >= 2:
        yield _win_matrix(tests, style)
    if len(tests.scores) >= 3 and tests.p:
        yield _critical_difference(tests, looks(best_first(group)), style)


def _win_matrix(tests: Versus, style: Style) -> Drawing:
    """Draw the probability that the row beats the column on a prompt, in per cent; * where the mean targets differ."""
    columns: Columns = 1 if len(tests.scores) <= FEW else 2
    names = list(tests.scores)
    most = next(
        n for n in range(len(names), 1, -1) if n == 2 or _room(names[:n], style, columns) >= n * CELL * style.scale
    )
    names = names[:most]
    rows = [_win_row(one, other, tests) for one in names for other in names if one != other]
    side = min(_room(names, style, columns), 0.36 * style.scale * len(names))
    figure = new_figure(style, height=(side + _length(names, style)) / style.scale + 0.6, columns=columns)
    axes = figure.subplots()
    _draw_cells(axes, names, rows)
    part = "" if len(names) == len(tests.scores) else f"\nthe best {len(names)} of {len(tests.scores)}"
    axes.set_xlabel(f"* targets differ: paired test, Holm, p < 0.05{part}", fontsize="small")
    return Drawing("win-matrix", figure, rows)


def _room(names: Sequence[str], style: Style, columns: Columns) -> float:
    """Return the side of the square that is left beside the names, the colour bar and the note, inches."""
    wide, high = style.width(columns) - 0.9 * style.scale, style.tallest - 0.65 * style.scale
    return min(wide, high) - _length(names, style)


def _length(names: Sequence[str], style: Style) -> float:
    return max(map(len, names)) * LETTER * style.font / 72


def _win_row(one: str, other: str, tests: Versus) -> Row:
    won = probability_of_improvement(tests.scores[one], tests.scores[other])
    pair = (one, other) if (one, other) in tests.p else (other, one)
    p, adjusted = tests.p.get(pair, np.nan), tests.adjusted.get(pair, np.nan)
    numbers = {"improvement": won.mean, "low": won.low, "high": won.high, "p": p, "p_holm": adjusted}
    return {"objective": one, "against": other, **numbers, "differs": tests.differ(one, other)}


def _draw_cells(axes: "Axes", names: Sequence[str], rows: Sequence[Row]) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import PercentFormatter

    index = {name: at for at, name in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    for row in rows:
        table[index[row["objective"]], index[row["against"]]] = row["improvement"]
    edges = np.arange(len(names) + 1) - 0.5
    # both ends of the map are told apart by colour-blind readers, and its middle is «no better»
    mesh = axes.pcolormesh(edges, edges, table, cmap=colormaps["RdBu"], vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for row in rows:
        x, y, share = index[row["against"]], index[row["objective"]], row["improvement"]
        text = f"{100 * share:.0f}" + ("*" if row["differs"] else "")
        ink = "white" if abs(share - 0.5) > 0.33 else "black"
        axes.text(x, y, text, ha="center", va="center", color=ink, fontsize="small")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02, format=PercentFormatter(1.0))
    bar.outline.set_visible(False)
    bar.set_label("P(row beats column)")


def _critical_difference(tests: Versus, look: dict[str, Look], style: Style) -> Drawing:
    """Draw the mean rank over prompts of each objective; a bar joins neighbours that no test tells apart."""
    ranks = average_ranks({name: scores.mean(axis=0) for name, scores in tests.scores.items()})
    names = sorted(ranks, key=lambda name: (ranks[name], name))
    runs = indistinct_runs(names, tests)
    lanes = _lanes(runs)
    half = -(-len(names) // 2)
    bars = max(lanes, default=-1) + 1
    wide = len(names) > FEW or max(map(len, names)) > 10
    height = 0.65 + LANE * bars + LINE * half
    figure = new_figure(style, height=height, columns=2 if wide else 1)
    figure.set_layout_engine("none")
    _draw_ranks(figure, names, ranks, list(zip(runs, lanes, strict=True)), look, style)
    rows = [
        {
            "objective": name,
            "mean_rank": ranks[name],
            "prompts": tests.scores[name].shape[1],
            "seeds": tests.scores[name].shape[0],
            "bars": " ".join(str(at + 1) for at, (first, last) in enumerate(runs) if first <= index <= last),
        }
        for index, name in enumerate(names)
    ]
    return Drawing("critical-difference", figure, rows)


def _draw_ranks(
    figure: "Figure",
    names: Sequence[str],
    ranks: Mapping[str, float],
    bars: "Sequence[tuple[tuple[int, int], int]]",
    look: Mapping[str, Look],
    style: Style,
) -> None:
    """Draw the axis at the top, bars below it (run, lane), and an elbow from each mean rank to its name at a side."""
    from matplotlib import rcParams
    from matplotlib.ticker import MaxNLocator

    em, width, height = style.font / 72, figure.get_figwidth(), figure.get_figheight()
    half = -(-len(names) // 2)
    depth = max((lane for _, lane in bars), default=-1) + 1
    line = (height - (0.62 + LANE * depth) * style.scale) / (half + 0.2)
    letters = max(map(len, names)) + 7
    size = min(style.font, line * 72 / 1.15, 0.36 * width * 72 / (letters * LETTER))
    side = letters * LETTER * size / 72 + 0.3 * em
    axes = figure.add_axes((side / width, 0, 1 - 2 * side / width, 1 - 0.5 * style.scale / height))
    low, high = min(ranks.values()), max(ranks.values())
    room = 0.04 * (high - low) or 0.5
    axes.set(xlim=(low - room, high + room), ylim=(axes.get_position().height * height, 0))
    axes.xaxis.set_ticks_position("top")
    axes.xaxis.set_label_position("top")
    axes.xaxis.set_major_locator(MaxNLocator(max(1, min(6, int((width - 2 * side) / (5 * em))))))
    axes.set_xlabel(f"mean rank of {len(names)} over test prompts (1 is best)")
    axes.spines[["left", "bottom", "right"]].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.grid(False)
    axes.yaxis.set_visible(False)
    for (first, last), lane in bars:
        y = (0.12 + LANE * (lane + 0.5)) * style.scale
        ends = [ranks[names[first]] - 0.25 * room, ranks[names[last]] + 0.25 * room]
        axes.plot(ends, [y, y], color="black", linewidth=2.2 * rcParams["lines.linewidth"], solid_capstyle="butt")
    for index, name in enumerate(names):
        row = index if index < half else len(names) - 1 - index
        y = (0.12 + LANE * depth) * style.scale + (row + 0.6) * line
        _draw_elbow(axes, name, ranks[name], y=y, left=index < half, look=look[name], size=size)


def _draw_elbow(axes: "Axes", name: str, rank: float, *, y: float, left: bool, look: Look, size: float) -> None:
    from matplotlib import rcParams

    edge = axes.get_xlim()[0 if left else 1]
    ink = look.color if look.named else GREY
    axes.plot([rank, rank, edge], [0, y, y], color=ink, linewidth=0.6 * rcParams["lines.linewidth"], clip_on=False)
    axes.plot([rank], [0], look.marker, color=ink, clip_on=False, zorder=4)
    axes.annotate(
        f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}",
        (edge, y),
        (-0.3 * size if left else 0.3 * size, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        color=ink,
        fontsize=size,
        annotation_clip=False,
    )


def _lanes(runs: Sequence[tuple[int, int]]) -> list[int]:
    """Return a lane for each run (in the order of their starts), so that runs in one lane do not touch."""
    ends: list[int] = []
    lanes = []
    for first, last in runs:
        lane = next((at for at, end in enumerate(ends) if end < first), len(ends))
        ends[lane : lane + 1] = [last]
        lanes.append(lane)
    return lanes


def versus(group: Group) -> Versus:
    """Return the paired tests of each pair of objectives, over the test seeds that all have and their prompts."""
    targets = matched(group)
    scores = {name: targets[name] for name in sorted(targets, key=lambda name: (-float(targets[name].mean()), name))}
    pairs = list(combinations(scores, 2))
    tests = paired_tests([(scores[first], scores[second]) for first, second in pairs])
    ps = {pair: test.p for pair, test in zip(pairs, tests, strict=True) if np.isfinite(test.p)}
    return Versus(scores, ps, dict(zip(ps, holm(list(ps.values())), strict=True)))


def indistinct_runs(ordered: Sequence[str], tests: Versus) -> list[tuple[int, int]]:
    """Return the longest runs (first, last) of two or more neighbours in ``ordered`` no two of which differ.

    A run ends before the first objective that differs from any in it, so no bar joins two that differ; two that do not
    differ have no bar where one between them differs from either.
    """
    runs: list[tuple[int, int]] = []
    for first in range(len(ordered)):
        last = first
        while last + 1 < len(ordered) and not any(
            tests.differ(ordered[at], ordered[last + 1]) for at in range(first, last + 1)
        ):
            last += 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
