"""Style of figures: paper or slides, one or two columns, type, lines, legends and axes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Columns = Literal[1, 2]
GREY = "#666666"
BLUE, VERMILLION, ORANGE = "#0072B2", "#D55E00", "#E69F00"
BODY = 8.0
"""The size of type on paper, points: what the lengths below are given for."""
TALLEST = 9.2
"""The height of a paper's page of text, inches."""
LETTER = 0.6
"""The mean width of a letter, in sizes of the type."""


@dataclass(frozen=True)
class Style:
    """Sizes of a figure: widths of one column and of the page (inches), type (points), weight of lines, dots per inch.

    ``ratio`` fixes the height to that share of the page's width; None: as high as the content needs. ``columns`` sets
    the width of every figure; None: on paper each figure takes what it needs, a slide is filled.
    """

    name: str
    column: float
    page: float
    font: float
    line: float
    dpi: int
    ratio: float | None
    columns: Columns | None = None

    @property
    def scale(self) -> float:
        """How much larger than on paper the type is, and all that holds type."""
        return self.font / BODY

    def width(self, columns: Columns) -> float:
        """Return a figure's width in inches; ``columns`` is what the figure takes where nothing else was asked."""
        natural = columns if self.ratio is None else 2
        return self.page if (self.columns or natural) == 2 else self.column

    @property
    def tallest(self) -> float:
        """The largest height of a figure, inches."""
        return TALLEST if self.ratio is None else self.page * self.ratio


STYLES = {
    "paper": Style("paper", column=3.3, page=6.8, font=8, line=1.0, dpi=300, ratio=None),
    "slides": Style("slides", column=4.9, page=10.0, font=14, line=1.7, dpi=200, ratio=9 / 16),
}


def style_of(name: str, *, columns: int | None = None) -> Style:
    """Return the style of that name. Raises UsageError for an unknown one, and for columns other than 1 and 2."""
    if name not in STYLES:
        raise UsageError(f"--style: unknown style {name!r}", fix=did_you_mean(name, STYLES))
    if columns not in (None, 1, 2):
        raise UsageError(
            f"--columns must be 1 or 2 (got {columns})",
            fix="--columns 1 or --columns 2; leave it out, and each figure takes what it needs",
        )
    return replace(STYLES[name], columns=columns)  # type: ignore[arg-type]  # checked above


@contextmanager
def house(style: Style) -> Iterator[None]:
    """Hold the house style while a figure is drawn and saved."""
    from matplotlib import rc_context

    with rc_context(_rc(style)):
        yield


def new_figure(style: Style, *, height: float, columns: Columns = 1) -> "Figure":
    """Return an empty figure whose parts are laid out without overlap.

    ``height`` is in inches of paper; a style with a fixed ratio has its own. ``columns`` is the width it needs.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    high = min(height * style.scale, style.tallest) if style.ratio is None else style.tallest
    pad = 0.04 * style.scale
    solver = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad)
    return Figure(figsize=(style.width(columns), high), dpi=style.dpi, layout=solver)


def legend(figure: "Figure", style: Style, handles: "Sequence[Artist]", labels: Sequence[str]) -> float:
    """Put one legend above all axes, as many entries in a line as fit; return its height, inches.

    On paper the figure grows by that height, so that the axes keep theirs, but never beyond the page.
    """
    if not labels:
        return 0.0
    em = style.font / 72
    counts = (math.ceil(len(labels) / lines) for lines in range(1, len(labels) + 1))
    across = next((n for n in counts if _width(labels, n) * em <= figure.get_figwidth()), 1)
    high = (1.5 * math.ceil(len(labels) / across) + 0.6) * em
    if style.ratio is None:
        figure.set_size_inches(figure.get_figwidth(), min(figure.get_figheight() + high, style.tallest))
    outside = "outside upper center" if figure.get_layout_engine() is not None else "upper center"
    figure.legend(handles, labels, loc=outside, ncols=across, borderaxespad=0.2)
    return high


def _width(labels: Sequence[str], across: int) -> float:
    """Return the width of a legend with ``across`` columns, in sizes of its type; it is filled column by column."""
    parts = [labels[at * len(labels) // across : (at + 1) * len(labels) // across] for at in range(across)]
    return sum(max(map(len, part)) * LETTER + 3.3 for part in parts)


def scale_x(axes: "Axes", places: Sequence[float], *, style: Style, width: float, minor: bool = True) -> None:
    """Scale x for ``places``: logarithmic where they are above 0 and span a factor of four, else linear.

    Ticks have plain labels («0.03», not «3·10⁻²»), as many as fit ``width`` inches.
    """
    low, high = min(places), max(places)
    if low > 0 and (low == high or high / low >= 4):
        _log_axis(axes, low=low, high=high, style=style, width=width, minor=minor)
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(*_widened(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(1, int(width / (4 * LETTER * style.font / 72)))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Return round values from ``low`` to ``high``: 1, 2 and 5 of each decade, or 1 and 3, or 1, so that ``most`` hold.

    Where even the decades are more, every second (third, …) of them.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{power}") for power in decades for step in steps]
        ticks = [value for value in ticks if low <= value <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // max(1, most))]


def short(value: float) -> str:
    """Return a round number as few letters: «0.03», but «3e-5» and not «3e-05»."""
    mantissa, power = f"{value:.5e}".split("e")
    return f"{value:g}" if abs(value) >= 1e-3 else f"{float(mantissa):g}e{int(power)}" if value else "0"


def _log_axis(axes: "Axes", *, low: float, high: float, style: Style, width: float, minor: bool) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = (low / 1.5, high * 1.5) if low == high else (low, high)
    margin = (high / low) ** 0.08
    longest = max(len(short(value)) for value in log_ticks(low, high, most=99) or [low])
    most = int(width / ((longest + 1) * LETTER * style.font / 72))
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low / margin, high * margin, most=max(1, most))))
    axes.xaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10))) if minor else NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _widened(low: float, high: float) -> tuple[float, float]:
    edge = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
    return low - edge, high + edge


def _rc(style: Style) -> dict[str, object]:
    lines = {
        "axes.linewidth": 0.6,
        "grid.linewidth": 0.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.minor.size": 1.8,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "lines.markeredgewidth": 0.9,
    }
    type_sizes = ("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    return {
        **{name: value * style.line for name, value in lines.items()},
        **dict.fromkeys(type_sizes, style.font),
        "axes.titlesize": style.font + 0.5,
        "font.family": "sans-serif",
        # matplotlib brings it along, so that it is the same one everywhere
        "font.sans-serif": ["DejaVu Sans"],
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "legend.labelspacing": 0.35,
        "legend.columnspacing": 1.2,
        "legend.handletextpad": 0.5,
        "axes.edgecolor": "#444444",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.color": "#DDDDDD",
        # TrueType, which journals ask for: type 3 fonts are refused by many
        "pdf.fonttype": 42,
        # text as outlines: a viewer without the font would lay it out anew
        "svg.fonttype": "path",
        "svg.hashsalt": "lossbench",
    }
