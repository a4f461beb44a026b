"""Owns the training curves of the best setting of each objective: loss, reward accuracy and margin against the step."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.report.record import RunRecord
from bench.report.settings import Group
from bench.report.style import COLUMN, PAGE, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
CURVES = ("loss", "accuracy", "margin")
SMOOTHING = 15
"""One part in this many of the logged steps is averaged: a batch of 16 pairs gives an accuracy to ± 0.12 alone."""
BANDS = 5
"""Objectives whose range over seeds is drawn; of more, the bands would hide each other."""


def training_curves(group: Group) -> "tuple[Figure, list[Row]]":
    """Draw the seeds' mean and range of the running mean of each curve; return the figure and the plotted numbers."""
    found = [setting for setting in map(group.best, group.objectives) if setting is not None]
    runs = {s.objective: list({r.key: r for r in (*s.validation, *s.test)}.values()) for s in found}
    several = len(runs) > 1
    rows = [row for name, records in runs.items() for row in _rows(name, records, relative=several)]
    if not rows:
        return new_figure(COLUMN, 1), []
    labels = {"loss": "training loss", "accuracy": "reward accuracy, training", "margin": "reward margin, training"}
    labels |= {"loss": "training loss / its first value"} if several else {}
    figure = new_figure(PAGE, 2.35 + 0.17 * ((len(runs) - 1) // 6))
    width = max(int(row["averaged_steps"]) for row in rows)
    for axes, name in zip(figure.subplots(1, 3), CURVES, strict=True):
        _draw(axes, [row for row in rows if row["curve"] == name], looks(group.objectives))
        axes.set_ylabel(labels[name])
        axes.set_xlabel("optimiser step" if width == 1 else f"optimiser step (mean of {width})")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=6)
    return figure, rows


def smooth(values: Sequence[float | None], *, width: int) -> NDArray[np.float64]:
    """Return the centred running mean over ``width`` (odd) entries, fewer at the ends; None and NaN are left out."""
    numbers = np.asarray([math.nan if value is None else value for value in values], dtype=np.float64)
    known = np.isfinite(numbers)
    window = np.ones(width)
    total = np.convolve(np.where(known, numbers, 0.0), window)[width // 2 : width // 2 + len(numbers)]
    count = np.convolve(known.astype(np.float64), window)[width // 2 : width // 2 + len(numbers)]
    return np.divide(total, count, out=np.full(len(numbers), math.nan), where=count > 0)


def _rows(objective: str, records: Sequence[RunRecord], *, relative: bool) -> list[Row]:
    done = [record for record in records if record.status == "completed" and record.curves.get("step")]
    rows: list[Row] = []
    for name in CURVES:
        having = [record for record in done if len(record.curves.get(name, ())) == len(record.curves["step"])]
        steps = having[0].curves["step"] if having else []
        having = [record for record in having if record.curves["step"] == steps]
        width = max(1, len(steps) // SMOOTHING) | 1
        curves = [smooth(record.curves[name], width=width) for record in having]
        if name == "loss" and relative:
            # losses of two objectives have no common scale; one that starts at 0 or below has no relative one either
            curves = [curve / curve[0] for curve in curves if curve[0] > 0]
        if not curves:
            continue
        stacked = np.stack(curves)
        for at, step in enumerate(steps):
            here = stacked[:, at]
            if np.isfinite(here).all():
                numbers = {"mean": float(here.mean()), "low": float(here.min()), "high": float(here.max())}
                same = {"objective": objective, "curve": name, "seeds": len(curves), "averaged_steps": width}
                rows.append({**same, "step": step, **numbers})
    return rows


def _draw(axes: "Axes", rows: Sequence[Row], look: dict[str, dict[str, Any]]) -> None:
    for at, (objective, one) in enumerate(look.items()):
        own = [row for row in rows if row["objective"] == objective]
        if not own:
            continue
        steps, means = [row["step"] for row in own], [row["mean"] for row in own]
        every = max(1, len(steps) // 5)
        marks: dict[str, Any] = {
            "marker": one["marker"],
            "markevery": (at * every // max(1, len(look)), every),
            "markersize": 3.5,
        }
        axes.plot(steps, means, color=one["color"], label=objective, **marks)
        if len({row["objective"] for row in rows}) <= BANDS:
            low, high = [row["low"] for row in own], [row["high"] for row in own]
            axes.fill_between(steps, low, high, color=one["color"], alpha=0.18, linewidth=0)
    axes.margins(x=0.02)
