"""The figures with one panel an objective: scores and log-prob shifts against what was swept."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.analysis.settings import Group, plotted_split
from bench.report.figures.colours import Look, best_first, looks
from bench.report.figures.grid import Grid, arrange, fit, open_page, panel_width, y_limits
from bench.report.figures.saving import Drawing, Row, numbers
from bench.report.figures.style import BLUE, GREY, VERMILLION, Style, legend, scale_x, short
from bench.report.figures.sweep import SecondParameter, rows_of, second_parameter, swept_parameters
from bench.report.tables.text import reward_label, target_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

SYMBOLS = {"beta": "β", "gamma": "γ", "alpha": "α", "tau": "τ", "lambda": "λ", "learning_rate": "learning rate"}
DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)), (0, (1, 2)))
CARET = 7
"""matplotlib's marker that points down, its tip at the place."""


@dataclass(frozen=True)
class Series:
    """One quantity of a panel: the metric, its axis label, its look, its name in the legend."""

    name: str
    label: str
    color: str | None = None
    marker: str | None = None
    filled: bool = True
    legend: str = "mean and 95 % interval"


@dataclass(frozen=True)
class Item:
    """One objective's panels: its title, its look, and the numbers of each layer's series."""

    title: str
    look: Look
    layers: Sequence[Sequence[Sequence[Row]]]

    @property
    def rows(self) -> list[Row]:
        """All numbers."""
        return [row for layer in self.layers for part in layer for row in part]


def score_vs_parameter(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw target and reward against each swept parameter, one figure a parameter: «score-vs-beta», ….

    Where two parameters are swept, each value of the other one has a line of its own; where they have many values, the
    line joins what validation likes best at each place, and the other settings are pale.
    """
    split = plotted_split(group)
    named = {"target": target_label(group), "gold_reward": reward_label(group)}
    layers = [[Series(name, f"{label},\n{split}")] for name, label in named.items()]
    for parameter, objectives in swept_parameters(group).items():
        second = second_parameter(group, objectives, parameter)
        items = _items(group, dict.fromkeys(objectives, parameter), layers, second=second, main=parameter)
        yield from _pages(f"score-vs-{parameter}", items, layers, style=style, parameter=parameter, second=second)


def logp_shift(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw how far chosen and rejected log-probs (nats per completion) moved from the start model, against the sweep.

    Each objective stands against the first parameter that it sweeps; a title names it where it is not the others'.
    """
    label = f"log-prob shift,\n{plotted_split(group)} [nats]"
    chosen = Series("chosen_shift", label, BLUE, "o", legend="chosen")
    rejected = Series("rejected_shift", label, VERMILLION, "s", filled=False, legend="rejected")
    axis: dict[str, str] = {}
    for parameter, objectives in swept_parameters(group).items():
        axis = dict.fromkeys(objectives, parameter) | axis
    main = next(iter(swept_parameters(group)), "beta")
    layers = [[chosen, rejected]]
    yield from _pages(
        "logp-shift",
        _items(group, axis, layers, second=None, main=main),
        layers,
        style=style,
        parameter=main,
        second=None,
    )


def _items(
    group: Group, axis: dict[str, str], layers: Sequence[Sequence[Series]], *, second: SecondParameter | None, main: str
) -> list[Item]:
    items = []
    # every panel has its name above it, so that each may have its colour, however many there are
    for name in (name for name in best_first(group) if name in axis):
        rows = [
            [rows_of(group, name, parameter=axis[name], quantity=s.name, second=second) for s in layer]
            for layer in layers
        ]
        title = name if axis[name] == main else f"{name} ({SYMBOLS.get(axis[name], axis[name])})"
        items.append(Item(title, looks([name])[name], rows))
    return [item for item in items if any(row["kind"] == "mean" for row in item.rows)]


def _pages(
    name: str,
    items: Sequence[Item],
    layers: Sequence[Sequence[Series]],
    *,
    style: Style,
    parameter: str,
    second: SecondParameter | None,
) -> Iterator[Drawing]:
    grid = fit(max(1, len(items)), layers=len(layers), style=style)
    limits = [_limits(items, layer, cut=layers[layer][0].name == "target") for layer in range(grid.layers)]
    for page, first in enumerate(range(0, len(items), grid.items), start=1):
        page_items = items[first : first + grid.items]
        figure, columns = open_page(grid, len(page_items), style=style)
        width = panel_width(figure, grid, style)
        for item, column in zip(page_items, columns, strict=True):
            _draw_item(item, column, layers, style=style, limits=limits, width=width, small=grid.small)
        top = legend(figure, style, *_legend(page_items, layers, grid, second=second))
        labels, below = [layer[0].label for layer in layers], SYMBOLS.get(parameter, parameter)
        arrange(figure, columns, grid, style=style, labels=labels, xlabel=below, top=top)
        rows = [row for item in page_items for layer in item.layers[: grid.layers] for part in layer for row in part]
        yield Drawing(name if page == 1 else f"{name}-{page}", figure, rows)


def _draw_item(
    item: Item,
    column: Sequence["Axes"],
    layers: Sequence[Sequence[Series]],
    *,
    style: Style,
    limits: Sequence[tuple[float, float]],
    width: float,
    small: bool,
) -> None:
    column[0].set_title(item.title, color=item.look.color, pad=3, fontsize="small" if small else None)
    places = [row["x"] for row in item.rows if not math.isnan(row["x"])]
    for axes, layer, parts, limit in zip(column, layers, item.layers, limits, strict=False):
        for series, part in zip(layer, parts, strict=True):
            _draw(axes, part, color=series.color or item.look.color, series=series, look=item.look, floor=limit[0])
        scale_x(axes, places, style=style, width=width, minor=not small)
        axes.set_ylim(*limit)


def _draw(axes: "Axes", rows: Sequence[Row], *, color: str, series: Series, look: Look, floor: float) -> None:
    """Draw rows: a dash a seed, means with intervals, a star for the best, × where none completed, the start dashed."""
    from matplotlib import rcParams

    size, width = rcParams["lines.markersize"], rcParams["lines.linewidth"]
    kind = {name: [row for row in rows if row["kind"] == name] for name in ("mean", "seed", "failed", "start")}
    for row in kind["start"]:
        axes.axhline(row["y"], color=GREY, linestyle=(0, (4, 2)), linewidth=0.75 * width, zorder=1)
    axes.plot(numbers(kind["seed"], "x"), numbers(kind["seed"], "y"), "_", color=color, markersize=1.5 * size)
    for line in sorted({row["line"] for row in kind["mean"]}):
        joined, shade = [row for row in kind["mean"] if row["line"] == line], tint(color, max(0, line))
        lined = any(row["line"] >= 0 for row in kind["mean"])
        strong = 0.35 if lined and line < 0 else 1.0
        dash = ("" if line < 0 else DASHES[line]) if series.filled else "--"
        xs, ys = numbers(joined, "x"), numbers(joined, "y")
        axes.vlines(
            xs, numbers(joined, "low"), numbers(joined, "high"), color=shade, linewidth=0.65 * width, alpha=0.8 * strong
        )
        face: Row = {"mfc": shade if series.filled else "white", "alpha": strong, "zorder": 3}
        axes.plot(xs, ys, color=shade, linestyle=dash, marker=series.marker or look.marker, **face)
    best = [row for row in kind["mean"] if row["best"]]
    star: Row = {"color": color, "markersize": 2.3 * size, "mec": "black", "mew": 0.5 * width, "zorder": 5}
    axes.plot(numbers(best, "x"), numbers(best, "y"), "*", **star)
    below = [row["x"] for row in kind["mean"] if row["y"] < floor]
    edge = axes.get_xaxis_transform()
    axes.plot(below, [0.02] * len(below), marker=CARET, linestyle="", color=color, transform=edge, clip_on=False)
    failed = numbers(kind["failed"], "x")
    axes.plot(failed, [0.06] * len(failed), "x", color="black", transform=edge)


def tint(color: str, step: int) -> str:
    """Return ``color``, ``step`` times a fifth of the way to white."""
    from matplotlib.colors import to_hex, to_rgb

    share = 0.2 * step
    return to_hex(tuple(part + (1 - part) * share for part in to_rgb(color)))


def _limits(items: Sequence[Item], layer: int, *, cut: bool) -> tuple[float, float]:
    rows = [row for item in items for part in item.layers[layer] for row in part]
    ends = [row[end] for row in rows for end in ("low", "high") if end in row]
    return y_limits([row["y"] for row in rows], ends, cut=cut)


def _legend(
    items: Sequence[Item], layers: Sequence[Sequence[Series]], grid: Grid, *, second: SecondParameter | None
) -> "tuple[list[Line2D], list[str]]":
    """Return the legend's entries, of what is drawn somewhere."""
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    size = rcParams["lines.markersize"]
    rows = [row for item in items for layer in item.layers[: grid.layers] for part in layer for row in part]
    kinds = {row["kind"] for row in rows}
    handles = []
    for one in layers[0]:
        look: Row = {"color": one.color or GREY, "marker": one.marker or "o", "linestyle": "-" if one.filled else "--"}
        handles.append(Line2D([], [], label=one.legend, mfc=look["color"] if one.filled else "white", **look))
    for at, level in enumerate(second.levels if second else ()):
        name = f"{SYMBOLS.get(second.name, second.name)} {short(level)}" if second else ""
        handles.append(Line2D([], [], color=tint(GREY, at), linestyle=DASHES[at], label=name))
    if "seed" in kinds:
        handles.append(Line2D([], [], marker="_", markersize=1.5 * size, label="one seed", linestyle="", color=GREY))
    if any(row.get("best") for row in rows):
        star: Row = {"marker": "*", "markersize": 2.2 * size, "mfc": "white", "mec": "black", "linestyle": ""}
        handles.append(Line2D([], [], label="best on validation", **star))
    if "start" in kinds:
        handles.append(Line2D([], [], color=GREY, linestyle=(0, (4, 2)), label="start model"))
    if "failed" in kinds:
        handles.append(Line2D([], [], marker="x", linestyle="", color="black", label="did not complete"))
    return handles, [str(handle.get_label()) for handle in handles]
