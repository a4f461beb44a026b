"""Owns the figures with one panel an objective: target and gold reward against β, log-prob shift against β."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.settings import Group, Setting, interval, plotted_split, values
from bench.report.style import BLUE, COLUMN, GREY, PAGE, VERMILLION, log_axis, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
ACROSS = 4
"""Panels side by side."""
REACH = 0.5
"""How far an interval widens a panel's scale, in ranges of the values themselves."""
SYMBOLS = {"beta": "β", "gamma": "γ", "alpha": "α", "tau": "τ", "lambda": "λ", "learning_rate": "learning rate"}


@dataclass(frozen=True)
class Series:
    """One quantity of a panel: the metric, its axis label, its look, and its name in the legend."""

    name: str
    label: str
    color: str | None = None
    marker: str | None = None
    filled: bool = True
    legend: str = "mean and 95 % interval"


def target_vs_beta(group: Group) -> "tuple[Figure, list[Row]]":
    """Draw target and gold reward against each objective's β; return the figure and the plotted numbers."""
    split = plotted_split(group)
    series = (Series("target", f"target J,\n{split}"), Series("gold_reward", f"gold reward,\n{split}"))
    return _grid(group, [[one] for one in series])


def logp_shift(group: Group) -> "tuple[Figure, list[Row]]":
    """Draw how far chosen and rejected log-probs (nats per completion) moved from the start model, against β."""
    label = f"log-prob shift,\n{plotted_split(group)} [nats]"
    chosen = Series("chosen_shift", label, BLUE, "o", legend="chosen")
    rejected = Series("rejected_shift", label, VERMILLION, "s", filled=False, legend="rejected")
    return _grid(group, [[chosen, rejected]])


def swept_parameter(settings: Sequence[Setting]) -> str:
    """Return the parameter to draw one objective against: β where it varies, else what does, else β or the first."""
    names = [name for name, _ in settings[0].params]
    ordered = sorted(names, key=lambda name: (name != "beta", name))
    varying = [name for name in ordered if len({setting.param(name) for setting in settings}) > 1]
    return next(iter(varying + ordered), "learning_rate")


def place(setting: Setting, parameter: str) -> float:
    """Return where a setting stands on the axis of ``parameter``."""
    value = setting.param(parameter)
    return setting.learning_rate if value is None else value


def _grid(group: Group, layers: Sequence[Sequence[Series]]) -> "tuple[Figure, list[Row]]":
    """Draw a column of panels for each objective, ``ACROSS`` in a band; each of ``layers`` is a row of a band."""
    found = {name: [[_rows(group, name, one) for one in layer] for layer in layers] for name in group.objectives}
    found = {name: rows for name, rows in found.items() if any(r["kind"] == "mean" for r in _flat(rows))}
    if not found:
        return new_figure(COLUMN, 1), []
    across, depth = min(ACROSS, len(found)), len(layers)
    bands = math.ceil(len(found) / across)
    figure = new_figure(COLUMN if len(found) == 1 else PAGE, 0.5 + bands * (0.35 + 1.35 * depth))
    panels = figure.subplots(bands * depth, across, squeeze=False)
    for at, (name, rows) in enumerate(found.items()):
        column = [panels[at // across * depth + layer][at % across] for layer in range(depth)]
        column[0].set_title(name, color=looks(group.objectives)[name]["color"], fontweight="bold")
        for axes, layer, parts in zip(column, layers, rows, strict=True):
            for series, part in zip(layer, parts, strict=True):
                look = looks(group.objectives)[name]
                _draw(
                    axes, part, color=series.color or look["color"], marker=series.marker or look["marker"], to=series
                )
            _scale_x(axes, _flat(rows), label=axes is column[-1], width=figure.get_figwidth() / across - 0.3)
    for row in range(depth):
        parts = [part for rows in found.values() for part in rows[row]]
        _share_y(
            [panels[band * depth + row] for band in range(bands)], parts, label=layers[row][0].label, used=len(found)
        )
    figure.align_ylabels()
    _legend(figure, list(found.values()), layers)
    return figure, [row for rows in found.values() for row in _flat(rows)]


def _flat(rows: Sequence[Sequence[Sequence[Row]]]) -> list[Row]:
    return [row for layer in rows for part in layer for row in part]


def _rows(group: Group, objective: str, series: Series) -> list[Row]:
    """Return the numbers of one quantity of one objective: means, seeds, failed settings, the start model."""
    split = plotted_split(group)
    own = [setting for setting in group.settings if setting.objective == objective]
    parameter = swept_parameter(own)
    measured = [setting for setting in own if values(setting.records(split), series.name)]
    line = _on_line(measured, parameter)
    same = {"objective": objective, "quantity": series.name, "split": split, "parameter": parameter}
    rows: list[Row] = []
    for setting in sorted(own, key=lambda setting: place(setting, parameter)):
        found = interval(setting.records(split), series.name)
        at = {**same, "x": place(setting, parameter), "setting": setting.params_text, "rate": setting.learning_rate}
        if setting in measured:
            mean = {"y": found.mean, "low": found.low, "high": found.high, "interval": found.source}
            rows.append({**at, "kind": "mean", **mean, "best": setting.best, "line": setting in line})
        elif any(record.status in ("diverged", "failed") for record in setting.records(split)):
            rows.append({**at, "kind": "failed", "y": math.nan})
        seeds = values(setting.records(split), series.name) if found.n > 1 else []
        rows += [{**at, "kind": "seed", "y": metric.value} for metric in seeds]
    start = values(group.start.records(split), series.name) if group.start is not None else []
    return rows + [{**same, "kind": "start", "x": math.nan, "y": metric.value} for metric in start]


def _on_line(settings: Sequence[Setting], parameter: str) -> list[Setting]:
    """Return for each place on the axis the setting that validation likes best: the line joins those."""
    best: dict[float, Setting] = {}
    for setting in settings:
        x, other = place(setting, parameter), best.get(place(setting, parameter))
        if other is None or _score(setting) > _score(other):
            best[x] = setting
    return list(best.values())


def _score(setting: Setting) -> float:
    mean = interval(setting.validation, "target").mean
    return -math.inf if math.isnan(mean) else mean


def _draw(axes: "Axes", rows: Sequence[Row], *, color: str, marker: str, to: Series) -> None:
    """Draw rows: a dash a seed, means with intervals, a star for the best, × where none completed, the start dashed."""
    kind = {name: [row for row in rows if row["kind"] == name] for name in ("mean", "seed", "failed", "start")}
    face, dash = (color, "-") if to.filled else ("white", "--")
    for row in kind["start"]:
        axes.axhline(row["y"], color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
    axes.plot(_of(kind["seed"], "x"), _of(kind["seed"], "y"), "_", color=color, markersize=6, mew=0.9)
    joined = [row for row in kind["mean"] if row["line"]]
    axes.plot(_of(joined, "x"), _of(joined, "y"), color=color, linestyle=dash)
    for row in kind["mean"]:
        x, y, strong = row["x"], row["y"], 1.0 if row["line"] else 0.35
        axes.vlines(x, row["low"], row["high"], color=color, linewidth=0.8, alpha=0.8 * strong)
        look: Row = {"markersize": 10, "mec": "black", "mew": 0.6} if row["best"] else {"mfc": face, "alpha": strong}
        axes.plot([x], [y], "*" if row["best"] else marker, color=color, zorder=4 + row["best"], **look)
    bottom = [0.06] * len(kind["failed"])
    axes.plot(_of(kind["failed"], "x"), bottom, "x", color="black", transform=axes.get_xaxis_transform())


def _of(rows: Sequence[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _scale_x(axes: "Axes", rows: Sequence[Row], *, label: bool, width: float) -> None:
    places = [row["x"] for row in rows if not math.isnan(row["x"])]
    log_axis(axes, low=min(places), high=max(places), width=width)
    parameter = str(rows[0]["parameter"])
    axes.set_xlabel(SYMBOLS.get(parameter, parameter) if label else "")
    axes.tick_params(labelbottom=label)


def _share_y(bands: Sequence[Sequence["Axes"]], parts: Sequence[Sequence[Row]], *, label: str, used: int) -> None:
    """Give the panels of one quantity one scale, label it at the left, and hide what no objective fills."""
    rows = [row for part in parts for row in part]
    values = [row["y"] for row in rows if not math.isnan(row["y"])]
    ends = [row[end] for row in rows for end in ("low", "high") if end in row and not math.isnan(row[end])]
    # the interval of two seeds can be a hundred times their distance: it is cut at the panel's edge
    room = REACH * (max(values) - min(values))
    low = max(min(values + ends), min(values) - room)
    high = min(max(values + ends), max(values) + room)
    edge = 0.06 * (high - low) or 1.0
    panels = [axes for band in bands for axes in band]
    for axes in panels[:used]:
        axes.set_ylim(low - edge, high + edge)
    for band in bands:
        band[0].set_ylabel(label)
        for axes in band[1:]:
            axes.tick_params(labelleft=False)
    for axes in panels[used:]:
        axes.set_visible(False)


def _legend(
    figure: "Figure", found: Sequence[Sequence[Sequence[Sequence[Row]]]], layers: Sequence[Sequence[Series]]
) -> None:
    """Put one legend above all panels, of what is drawn somewhere."""
    from matplotlib.lines import Line2D

    rows = [row for one in found for row in _flat(one)]
    kinds = {row["kind"] for row in rows}
    handles = []
    for one in layers[0]:
        look: Row = {"color": one.color or GREY, "marker": one.marker or "o", "linestyle": "-" if one.filled else "--"}
        handles.append(Line2D([], [], label=one.legend, mfc=look["color"] if one.filled else "white", **look))
    if "seed" in kinds:
        handles.append(Line2D([], [], marker="_", markersize=6, label="one seed", linestyle="", color=GREY))
    if any(row.get("best") for row in rows):
        star: Row = {"marker": "*", "markersize": 9, "mfc": "white", "mec": "black", "mew": 0.6, "linestyle": ""}
        handles.append(Line2D([], [], label="best on validation", **star))
    if "start" in kinds:
        handles.append(Line2D([], [], color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, label="start model"))
    if "failed" in kinds:
        handles.append(Line2D([], [], marker="x", linestyle="", color="black", label="did not complete"))
    narrow = figure.get_figwidth() < PAGE
    figure.legend(handles=handles, loc="outside upper center", ncols=2 if narrow else len(handles))
