"""The figures of objectives against each other: how often one wins over another, and their mean ranks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.report.analysis.comparison import Comparison, matched
from bench.report.figures.decision import MARKS, WORDS, legend_of_words
from bench.report.figures.saving import Drawing, Row
from bench.report.figures.style import LETTER, Columns, Style, new_figure
from bench.stats.paired import probability_of_improvement
from bench.stats.ranks import average_ranks
from bench.stats.verdicts import Verdicts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 8
"""Objectives that one column holds."""


@dataclass(frozen=True)
class Versus:
    """Objective → test targets (seeds, prompts), best mean first; verdicts on pairs, and words against the first."""

    scores: dict[str, NDArray[np.float64]]
    verdicts: Verdicts
    words: Mapping[str, str]

    def differ(self, one: str, other: str) -> bool:
        """Return whether one of two objectives is shown to be better."""
        verdict = self.verdicts.between(one, other)
        return verdict is not None and verdict.word in ("better", "worse")


CELL, LINE, KEY = 0.23, 0.15, 0.2
"""Side of a matrix's cell; height of a name, and of the legend: inches of paper."""


def comparisons(comparison: Comparison, style: Style) -> Iterator[Drawing]:
    """Draw win matrix and mean ranks of the best settings on test, with the verdicts of the comparison."""
    tests = versus(comparison)
    if len(tests.scores) >= 2:
        yield _win_matrix(tests, style)
    if len(tests.scores) >= 3:
        yield _mean_ranks(tests, style)


def _win_matrix(tests: Versus, style: Style) -> Drawing:
    """Draw the probability that the row beats the column on a prompt, in per cent; * where one mean is shown better."""
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
    axes.set_xlabel(f"* one target is better, 5 % over all pairs{part}", fontsize="small")
    return Drawing("win-matrix", figure, rows)


def _room(names: Sequence[str], style: Style, columns: Columns) -> float:
    """Return the side of the square that is left beside the names, the colour bar and the note, inches."""
    wide, high = style.width(columns) - 0.9 * style.scale, style.tallest - 0.65 * style.scale
    return min(wide, high) - _length(names, style)


def _length(names: Sequence[str], style: Style) -> float:
    return max(map(len, names)) * LETTER * style.font / 72


def _win_row(one: str, other: str, tests: Versus) -> Row:
    won = probability_of_improvement(tests.scores[one], tests.scores[other])
    verdict = tests.verdicts.between(one, other)
    word = {"p": np.nan, "word": ""} if verdict is None else {"p": verdict.p, "word": verdict.word}
    numbers = {"improvement": won.mean, "low": won.low, "high": won.high}
    return {"objective": one, "against": other, **numbers, **word, "differs": tests.differ(one, other)}


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


def _mean_ranks(tests: Versus, style: Style) -> Drawing:
    """Draw the mean rank over prompts of each objective, in the colour and marker of its word against the first row."""
    ranks = average_ranks({name: scores.mean(axis=0) for name, scores in tests.scores.items()})
    names = sorted(ranks, key=lambda name: (ranks[name], name))
    half = -(-len(names) // 2)
    wide = len(names) > FEW or max(map(len, names)) > 10
    figure = new_figure(style, height=0.62 + KEY + LINE * half, columns=2 if wide else 1)
    figure.set_layout_engine("none")
    _draw_ranks(figure, names, ranks, tests.words, style)
    rows = [
        {
            "objective": name,
            "mean_rank": ranks[name],
            "prompts": tests.scores[name].shape[1],
            "seeds": tests.scores[name].shape[0],
            "word": tests.words[name],
        }
        for name in names
    ]
    return Drawing("mean-ranks", figure, rows)


def _draw_ranks(
    figure: "Figure", names: Sequence[str], ranks: Mapping[str, float], words: Mapping[str, str], style: Style
) -> None:
    """Draw the axis at the top, an elbow from each mean rank to its name at a side, and the words' legend below."""
    from matplotlib.ticker import MaxNLocator

    em, width, height = style.font / 72, figure.get_figwidth(), figure.get_figheight()
    half = -(-len(names) // 2)
    line = (height - (0.62 + KEY) * style.scale) / (half + 0.2)
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
    for index, name in enumerate(names):
        row = index if index < half else len(names) - 1 - index
        y = 0.12 * style.scale + (row + 0.6) * line
        _draw_elbow(axes, name, ranks[name], y=y, left=index < half, word=words[name], size=size)
    handles, labels = legend_of_words(list(words.values()))
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), borderaxespad=0.1)


def _draw_elbow(axes: "Axes", name: str, rank: float, *, y: float, left: bool, word: str, size: float) -> None:
    from matplotlib import rcParams

    edge = axes.get_xlim()[0 if left else 1]
    ink = WORDS[word]
    axes.plot([rank, rank, edge], [0, y, y], color=ink, linewidth=0.6 * rcParams["lines.linewidth"], clip_on=False)
    axes.plot([rank], [0], MARKS[word], color=ink, clip_on=False, zorder=4)
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


def versus(comparison: Comparison) -> Versus:
    """Return what is drawn: scores over the test seeds that all objectives have, and the comparison's own verdicts."""
    targets = matched(comparison.group)
    ordered = sorted(targets, key=lambda name: (-float(targets[name].mean()), name))
    words = {name: comparison.results[name].word or "first" for name in ordered}
    return Versus({name: targets[name] for name in ordered}, comparison.verdicts, words)
