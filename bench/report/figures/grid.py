"""Figures of many small panels: how many fit a page, one y-scale for all, and the labels that all share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.report.figures.style import LETTER, Columns, Style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 1.4, 1.08
"""Width of a panel where all fit one page, and where they do not, inches of paper."""
HIGH, LOW, LEAST = 1.15, 0.62, 0.45
"""Height of a panel where all fit one page, and the most and the least where they do not."""
MINUS = 0.6
"""Digits by which a minus sign is wider than one, with the space before it."""
FRAME = 0.5
"""Height of what stands above and below all panels, inches of paper."""
TITLE, TICKS, GAP = 0.17, 0.19, 0.08
"""Height of a panel's title, of its tick labels, and between two layers."""
REACH = 0.5
"""How far intervals may widen a scale, in ranges of the values themselves."""
DEPTH = 3.0
"""How far below the best a scale goes, in distances from the best value to the median."""


@dataclass(frozen=True)
class Grid:
    """Panels of one page: ``layers`` rows (one a quantity) make a band, ``across`` items stand side by side in it.

    ``height`` of a panel is in inches of paper.
    """

    layers: int
    across: int
    bands: int
    height: float
    small: bool

    @property
    def items(self) -> int:
        """How many items one page holds."""
        return self.across * self.bands


def fit(count: int, *, layers: int, style: Style) -> Grid:
    """Return the grid for ``count`` items: all layers where one page holds them, else the first layer in small panels.

    What even small panels do not hold takes more pages.
    """
    columns: Columns = 1 if count == 1 else 2
    width, room = style.width(columns) / style.scale, style.tallest / style.scale - FRAME
    across = max(1, min(count, int(width / WIDE)))
    whole = Grid(layers, across, math.ceil(count / across), HIGH, False)
    if whole.bands * _band(whole) <= room or count == 1:
        return whole
    across = max(1, min(count, int(width / NARROW)))
    least = Grid(1, across, math.ceil(count / across), LEAST, True)
    pages = math.ceil(least.bands / max(1, int(room / _band(least))))
    bands = math.ceil(least.bands / pages)
    return replace(least, bands=bands, height=min(LOW, room / bands - _band(least) + LEAST))


def open_page(grid: Grid, count: int, *, style: Style) -> "tuple[Figure, list[list[Axes]]]":
    """Return a figure with panels for ``count`` items, and each item's panels from top to bottom."""
    bands = math.ceil(count / grid.across)
    figure = new_figure(style, height=FRAME + bands * _band(grid), columns=1 if count == 1 else 2)
    # placed by `arrange`: the general solver takes seconds for sixty panels
    figure.set_layout_engine("none")
    columns = [
        [figure.add_axes((0, 0, 1, 1), label=f"{at} {layer}") for layer in range(grid.layers)] for at in range(count)
    ]
    for column in columns:
        for layer, axes in enumerate(column):
            axes.tick_params(labelbottom=layer == grid.layers - 1, pad=2, labelsize="small" if grid.small else None)
    return figure, columns


def arrange(
    figure: "Figure",
    columns: Sequence[Sequence["Axes"]],
    grid: Grid,
    *,
    style: Style,
    labels: Sequence[str],
    xlabel: str,
    top: float,
    shared: bool = True,
) -> None:
    """Give each panel its place, and label the axes: ``labels`` at the left, one a layer, ``xlabel`` below all.

    ``top`` inches are the legend's. Where y is ``shared``, only the panels at the left have tick labels.
    """
    em, width = style.font / 72, figure.get_figwidth()
    left = (1.3 + 1.2 * max(label.count("\n") for label in labels)) * em
    _place(figure, columns, grid, style=style, left=left + 3 * em, top=top, shared=shared)
    # which ticks an axis has depends on its size, and the size on the ticks: the second turn settles it
    ticks = max(_longest(axes) for column in columns for axes in column) * LETTER * em * (0.85 if grid.small else 1)
    _place(figure, columns, grid, style=style, left=left + ticks + 0.7 * em, top=top, shared=shared)
    x, middle = 0.3 * em / width, (left + ticks + 0.7 * em + width) / 2 / width
    figure.text(middle, 0.35 * em / figure.get_figheight(), xlabel, ha="center", va="bottom")
    if grid.small:
        _label_side(figure, x, 0.5 - top / 2 / figure.get_figheight(), labels[0].replace("\n", " "))
        return
    for column in columns[:: grid.across]:
        for axes, label in zip(column, labels, strict=False):
            box = axes.get_position()
            _label_side(figure, x, (box.y0 + box.y1) / 2, label)


def _label_side(figure: "Figure", x: float, y: float, text: str) -> None:
    figure.text(x, y, text, rotation=90, ha="left", va="center", multialignment="center")


def _place(
    figure: "Figure",
    columns: Sequence[Sequence["Axes"]],
    grid: Grid,
    *,
    style: Style,
    left: float,
    top: float,
    shared: bool,
) -> None:
    em, width, height = style.font / 72, figure.get_figwidth(), figure.get_figheight()
    bands, across = math.ceil(len(columns) / grid.across), min(grid.across, len(columns))
    own = left if not shared else 0.0
    step = (width - (0 if own else left) - 0.4 * em) / across
    inner = step - (own + 0.4 * em if own else 0.8 * em)
    room = (height - top - 1.7 * em) / bands
    high = (room - _above(grid) * style.scale) / grid.layers
    for at, column in enumerate(columns):
        x = left + at % across * step
        for layer, axes in enumerate(column):
            upper = height - top - at // across * room - TITLE * style.scale - layer * high
            lower = upper - high + (GAP * style.scale if layer < grid.layers - 1 else 0)
            axes.set_position((x / width, lower / height, inner / width, (upper - lower) / height))
            axes.tick_params(labelleft=not shared or at % across == 0)


def panel_width(figure: "Figure", grid: Grid, style: Style) -> float:
    """Return about how wide one panel's axis is, inches."""
    return (figure.get_figwidth() - 0.6 * style.scale) / grid.across - 0.1 * style.scale


def y_limits(values: Sequence[float], ends: Sequence[float], *, cut: bool) -> tuple[float, float]:
    """Return the scale for ``values`` and the ``ends`` of their intervals.

    The interval of two seeds can be a hundred times their distance: what goes beyond the panel is cut at its edge. With
    ``cut``, so is a value far below the others: one setting that ran away would press all others flat.
    """
    known, ends = sorted(v for v in values if math.isfinite(v)), [end for end in ends if math.isfinite(end)]
    if not known:
        return 0.0, 1.0
    low, high = known[0], known[-1]
    if cut:
        low = max(low, high - DEPTH * (high - known[len(known) // 2]) or low)
    room = REACH * (high - low)
    bottom, top = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
    edge = 0.06 * (top - bottom) or 0.1 * abs(top) or 1.0
    return bottom - edge, top + edge


def _band(grid: Grid) -> float:
    return _above(grid) + grid.layers * grid.height


def _above(grid: Grid) -> float:
    """Return what a band needs beside its panels: the title above and the tick labels below."""
    return TITLE + (TICKS if not grid.small else 0.85 * TICKS)


def _longest(axes: "Axes") -> float:
    """Return the width of the longest tick label in digits; a minus sign is wider than one."""
    texts = (label.get_text() for label in axes.get_yticklabels())
    return max((len(text) + MINUS * text.count("\N{MINUS SIGN}") for text in texts), default=0.0)
