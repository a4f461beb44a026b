"""The training curves of the best setting of each objective: loss, reward accuracy and margin against the step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.core.record import RunRecord
from bench.report.analysis.settings import Group
from bench.report.figures.colours import Look, best_first, looks
from bench.report.figures.saving import Drawing, Row
from bench.report.figures.style import Style, legend, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

CURVES = ("loss", "accuracy", "margin")
SMOOTHING = 15
"""One part in this many of the logged steps is averaged: a batch of 16 pairs gives an accuracy to ± 0.12 alone."""
BANDS = 5
"""Objectives whose range over seeds is drawn; of more, the bands would hide each other."""


def training_curves(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw the seeds' mean and range of the running mean of each curve, of each objective's best setting."""
    best = {name: group.best(name) for name in best_first(group)}
    runs = {
        name: list({r.key: r for r in (*s.validation, *s.test)}.values()) for name, s in best.items() if s is not None
    }
    several = len(runs) > 1
    rows = [row for name, records in runs.items() for row in _rows(name, records, relative=several)]
    if not rows:
        return
    labels = {"loss": "training loss", "accuracy": "reward accuracy, training", "margin": "reward margin, training"}
    labels |= {"loss": "training loss / its first value"} if several else {}
    look = looks(best_first(group))
    narrow = style.width(2) < style.page
    figure = new_figure(style, height=5.4 if narrow else 2.7, columns=2)
    width = max(int(row["averaged_steps"]) for row in rows)
    panels = figure.subplots(*((3, 1) if narrow else (1, 3)))
    for axes, name in zip(panels, CURVES, strict=True):
        _draw(axes, [row for row in rows if row["curve"] == name], look)
        axes.set_ylabel(labels[name])
    figure.supxlabel("optimiser step" if width == 1 else f"optimiser step (mean of {width})", fontsize="medium")
    legend(figure, style, *named_lines(panels, look))
    yield Drawing("training-curves", figure, rows)


def named_lines(panels: "Sequence[Axes]", look: Mapping[str, Look]) -> tuple[list["Artist"], list[str]]:
    """Return the legend's entries of lines: the named objectives, best first, and one for all the others."""
    drawn = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = [name for name in look if name in drawn]
    others = sum(not one.named for one in look.values())
    handles = [drawn[name] for name in names] + ([drawn["others"]] if "others" in drawn else [])
    return handles, names + ([f"{others} others"] if "others" in drawn else [])


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
        same = {"objective": objective, "curve": name, "seeds": len(curves), "averaged_steps": width}
        bounds = zip(steps, stacked.mean(axis=0), stacked.min(axis=0), stacked.max(axis=0), strict=True)
        rows += [
            {**same, "step": step, "mean": float(mean), "low": float(low), "high": float(high)}
            for step, mean, low, high in bounds
            if math.isfinite(mean)
        ]
    return rows


def _draw(axes: "Axes", rows: Sequence[Row], look: Mapping[str, Look]) -> None:
    from matplotlib import rcParams

    own: dict[str, list[Row]] = {}
    for row in rows:
        own.setdefault(row["objective"], []).append(row)
    for at, (objective, one) in enumerate(look.items()):
        points = own.get(objective, [])
        if not points:
            continue
        steps, means = [row["step"] for row in points], [row["mean"] for row in points]
        if not one.named:
            axes.plot(steps, means, color=one.color, linewidth=0.5, label="others", zorder=1.5)
            continue
        every = max(1, len(steps) // 5)
        first = at * every // max(1, sum(each.named for each in look.values()))
        axes.plot(
            steps,
            means,
            color=one.color,
            label=objective,
            marker=one.marker,
            markevery=(first, every),
            markersize=0.9 * rcParams["lines.markersize"],
            zorder=3 - at / len(look),
        )
        if len(own) <= BANDS:
            low, high = [row["low"] for row in points], [row["high"] for row in points]
            axes.fill_between(steps, low, high, color=one.color, alpha=0.18, linewidth=0)
    axes.margins(x=0.02)
