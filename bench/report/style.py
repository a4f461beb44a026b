"""Owns how figures look and how they are saved: one style, colours that hold for colour-blind readers, fixed bytes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.report.store import write_bytes_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 6.8
"""Widths of one column and of the whole page of a two-column paper, inches."""
DPI = 300
LABEL = 0.31
"""Room for one label of an axis, inches."""
BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
"""Okabe and Ito's palette; its yellow is left out, since thin yellow lines vanish on white paper."""
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
GREY = "#666666"
RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.8,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Hold the house style while a figure is drawn and saved."""
    from matplotlib import rc_context

    with rc_context(RC):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, inches, whose parts are laid out without overlap."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def looks(objectives: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and marker of each objective: no pair repeats before 56 of them."""
    pairs = ((COLOURS[at % len(COLOURS)], MARKERS[at % len(MARKERS)]) for at in range(len(objectives)))
    return {name: {"color": c, "marker": m} for name, (c, m) in zip(objectives, pairs, strict=True)}


def log_axis(axes: "Axes", *, low: float, high: float, width: float) -> None:
    """Make x logarithmic with plain labels («0.03», not «3·10⁻²»), as many as fit ``width`` inches."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    low, high = (low / 1.5, high * 1.5) if low == high else (low, high)
    margin = (high / low) ** 0.08
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low / margin, high * margin, most=int(width / LABEL))))
    axes.xaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def log_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Return round values from ``low`` to ``high``: 1, 2 and 5 of each decade, or 1 and 3, or 1, so that ``most`` hold.

    Where even the decades are more, every second (third, …) of them.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{step}e{power}") for power in decades for step in steps]
        found = [value for value in found if low <= value <= high]
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // max(1, most))]


def save(figure: "Figure", stem: Path) -> list[Path]:
    """Write ``stem``.png (300 dpi) and ``stem``.pdf, whole, without dates: equal figures give equal bytes."""
    kinds: tuple[tuple[Literal["png", "pdf"], dict[str, None]], ...] = (
        ("png", {"Software": None}),
        ("pdf", {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None}),
    )
    paths = []
    for kind, metadata in kinds:
        content = BytesIO()
        figure.savefig(content, format=kind, dpi=DPI, metadata=metadata)
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        write_bytes_whole(paths[-1], content.getvalue())
    return paths
