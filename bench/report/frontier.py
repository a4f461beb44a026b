"""Owns the reward-KL frontier: what each setting gains in gold reward, and how far it went from the start for it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.report.settings import Group, Setting, interval, plotted_split, values
from bench.report.style import COLOURS, COLUMN, GREY, PAGE, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]


def reward_kl_frontier(group: Group) -> "tuple[Figure, list[Row]]":
    """Draw gold reward against KL (nats) of every setting, with the Pareto frontier; return figure and numbers."""
    split = plotted_split(group)
    shown = [setting for setting in group.settings if values(setting.records(split), "gold_reward")]
    rows = [_row(setting, split) for setting in shown]
    if not rows:
        return new_figure(COLUMN, 1), []
    if group.start is not None and values(group.start.records(split), "gold_reward"):
        rows.insert(0, _row(group.start, split))
    edge = pareto([(row["kl"], row["gold_reward"]) for row in rows])
    rows = [{**row, "frontier": at in edge} for at, row in enumerate(rows)]
    wide = len(group.objectives) > len(COLOURS)
    across = 6 if wide else 3
    lines = math.ceil((len(group.objectives) + 3) / across)
    figure = new_figure(PAGE if wide else COLUMN, (3.2 if wide else 2.4) + 0.17 * lines)
    axes = figure.subplots()
    _draw(axes, rows, looks(group.objectives), start=group.start.objective if group.start else "")
    axes.set_xlabel(f"KL to the start model, {split} [nats]")
    axes.set_ylabel(f"gold reward, {split}")
    figure.legend(*_ordered(axes), loc="outside upper center", ncols=across, handletextpad=0.4, columnspacing=0.8)
    return figure, rows


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Return the indices of the points (cost, gain) that no other point beats: no cheaper one gains as much."""
    order = sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1]))
    best, kept = float("-inf"), set()
    for at in order:
        if points[at][1] > best:
            best = points[at][1]
            kept.add(at)
    return kept


def _row(setting: Setting, split: Any) -> Row:
    found = {name: interval(setting.records(split), name) for name in ("kl", "gold_reward")}
    spread = {f"{name}_{side}": getattr(one, side) for name, one in found.items() for side in ("low", "high")}
    means = {name: one.mean for name, one in found.items()}
    return {"objective": setting.objective, "setting": setting.params_text, "split": split, "best": setting.best} | (
        means | spread
    )


def _draw(axes: "Axes", rows: Sequence[Row], look: dict[str, dict[str, Any]], *, start: str) -> None:
    edge = sorted((row["kl"], row["gold_reward"]) for row in rows if row["frontier"])
    axes.plot(
        *zip(*edge, strict=True), color=GREY, linewidth=0.9, drawstyle="steps-post", label="Pareto frontier", zorder=1
    )
    for objective, one in look.items():
        points = [row for row in rows if row["objective"] == objective]
        plain, best = ([row for row in points if row["best"] is flag] for flag in (False, True))
        xs, ys = [row["kl"] for row in plain], [row["gold_reward"] for row in plain]
        label = objective if points else None
        axes.plot(xs, ys, linestyle="", alpha=0.9, label=label, zorder=3, markeredgewidth=0, **one)
        for row in best:
            # from the eighth objective on, colours come again: the marker tells them apart
            star: Row = {"markersize": 10, "markeredgecolor": "black", "markeredgewidth": 0.6, "zorder": 5}
            axes.plot([row["kl"]], [row["gold_reward"]], "*", color=one["color"], **star)
            if len(look) > len(COLOURS):
                mark: Row = {"marker": one["marker"], "color": "white", "markersize": 3, "mew": 0, "zorder": 6}
                axes.plot([row["kl"]], [row["gold_reward"]], **mark)
    for row in rows:
        if row["objective"] == start:
            axes.plot(
                [row["kl"]], [row["gold_reward"]], "o", mfc="white", mec="black", markersize=5, label="start model"
            )
    if any(row["best"] for row in rows):
        axes.plot([], [], "*", color="white", markersize=9, mec="black", mew=0.6, label="best setting")
    axes.margins(x=0.06, y=0.08)


def _ordered(axes: "Axes") -> tuple[list[Any], list[str]]:
    """Return the legend's entries, objectives before what belongs to all."""
    common = ("start model", "Pareto frontier", "best setting")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda at: common.index(labels[at]) if labels[at] in common else -1)
    return [handles[at] for at in order], [labels[at] for at in order]
