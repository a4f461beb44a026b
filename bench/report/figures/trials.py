"""The figures about the effort of a comparison: what more trials buy, and where the noise comes from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.analysis.comparison import matched
from bench.report.analysis.settings import Group, Setting, interval
from bench.report.figures.colours import Look, best_first, looks
from bench.report.figures.curves import BANDS, named_lines
from bench.report.figures.saving import Drawing, Row
from bench.report.figures.style import BLUE, ORANGE, Style, legend, new_figure
from bench.report.tables.text import target_label
from bench.stats.budget import expected_best
from bench.stats.crossed import variance_components

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 1000
SEED = 0
"""Of the resampling; each objective starts from it, so that none depends on which others there are."""
CAUSES = {"seed": BLUE, "prompt": ORANGE, "residual": "#BBBBBB"}


def best_of_n(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw the expected best validation target of n trials against n, one line an objective, with 95 % intervals."""
    from matplotlib.ticker import MaxNLocator

    look = looks(best_first(group))
    rows = [row for name in look for row in _trial_rows(group, name)]
    if not any(row["trials"] > 1 for row in rows):
        return
    figure = new_figure(style, height=2.6)
    axes = figure.subplots()
    _draw_lines(axes, rows, look)
    axes.set_xlabel("trials")
    axes.set_ylabel(f"expected best {target_label(group)},\nvalidation")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    legend(figure, style, *named_lines([axes], look))
    yield Drawing("best-of-n", figure, rows)


def variance(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw which share of the variance of each best setting's mean test target seeds, prompts and the rest cause."""
    scores = {name: table for name, table in matched(group).items() if min(table.shape) > 1}
    names = [name for name in best_first(group) if name in scores]
    most = int((style.tallest / style.scale - 0.9) / 0.16)
    if not names:
        return
    rows = [_variance_row(name, scores[name]) for name in names[:most]]
    figure = new_figure(style, height=0.55 + 0.16 * len(rows))
    axes = figure.subplots()
    left = np.zeros(len(rows))
    for cause, color in CAUSES.items():
        widths = np.array([row[f"{cause}_share"] for row in rows])
        axes.barh(range(len(rows)), widths, left=left, color=color, height=0.72, label=cause)
        left += widths
    axes.set_yticks(range(len(rows)), [row["objective"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    part = "" if len(rows) == len(names) else f",\nthe best {len(rows)} of {len(names)}"
    axes.set_xlabel(f"share of the mean's variance{part}")
    legend(figure, style, *axes.get_legend_handles_labels())
    yield Drawing("variance", figure, rows)


def _trial_rows(group: Group, objective: str) -> list[Row]:
    settings = [s for s in group.settings if s.objective == objective and s.validation]
    reached = [_target(setting) for setting in settings]
    if all(map(math.isnan, reached)):
        return []
    bests = expected_best(reached, rng=np.random.default_rng(SEED), resamples=RESAMPLES)
    same = {"objective": objective, "trials": len(settings), "failed": sum(map(math.isnan, reached))}
    return [{**same, "n": n, "best": b.mean, "low": b.low, "high": b.high} for n, b in enumerate(bests, start=1)]


def _target(setting: Setting) -> float:
    """Return a trial's target, NaN where one of its runs did not complete: such a setting is never chosen."""
    whole = all(record.status == "completed" for record in setting.validation)
    return interval(setting.validation, "target").mean if whole else math.nan


def _draw_lines(axes: "Axes", rows: Sequence[Row], look: Mapping[str, Look]) -> None:
    for at, (name, one) in enumerate(reversed(list(look.items()))):
        own = [row for row in rows if row["objective"] == name]
        ns, bests = [row["n"] for row in own], [row["best"] for row in own]
        if not own:
            continue
        if not one.named:
            axes.plot(ns, bests, color=one.color, linewidth=0.6, label="others")
            continue
        axes.plot(ns, bests, color=one.color, marker=one.marker, label=name, zorder=3 + at / len(look))
        low, high = [row["low"] for row in own], [row["high"] for row in own]
        if len(look) <= BANDS:
            axes.fill_between(ns, low, high, color=one.color, alpha=0.15, linewidth=0)


def _variance_row(name: str, table: np.ndarray) -> Row:
    components = variance_components(table)
    parts = {cause: getattr(components, cause) for cause in CAUSES}
    shares = {f"{cause}_share": getattr(components, f"{cause}_share") for cause in CAUSES}
    return {"objective": name, "seeds": table.shape[0], "prompts": table.shape[1], **parts, **shares}
