"""Figure files: laid out once, saved in each format, equal figures as equal bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, did_you_mean
from bench.utils.files import write_bytes_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
"""One row of a table: texts and numbers by column, whose types differ from table to table."""
FORMATS = ("pdf", "png", "svg")
UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}
"""What matplotlib writes of itself and of the clock, left out."""


@dataclass(frozen=True)
class Drawing:
    """One figure: its file name without ending, and the plotted numbers, one dictionary a row."""

    name: str
    figure: "Figure"
    rows: Sequence[Row]


def numbers(rows: Sequence[Row], name: str) -> list[float]:
    """Return one column of the plotted numbers."""
    return [float(row[name]) for row in rows]


def formats_of(text: str) -> tuple[str, ...]:
    """Return the formats of «pdf,png,svg», sorted. Raises UsageError for another one, and for none at all."""
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError(f"--formats must name one or more of {', '.join(FORMATS)} (got {text!r})", fix="--formats pdf")
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--formats: unknown format {name!r}", fix=did_you_mean(name, FORMATS))
    return tuple(sorted(set(names)))


def save(figure: "Figure", stem: Path, *, formats: Sequence[str]) -> list[Path]:
    """Write ``stem`` in each of ``formats``, whole, without dates: equal figures give equal bytes."""
    engine, dpi = figure.get_layout_engine(), figure.dpi
    if engine is not None:
        # solved here once: else each format would solve it again
        engine.execute(figure)
        figure.set_layout_engine("none")
    paths = []
    for kind in formats:
        content = BytesIO()
        figure.set_dpi(dpi)
        _render(figure, kind, content)
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        write_bytes_whole(paths[-1], content.getvalue())
    return paths


def _render(figure: "Figure", kind: str, to: BytesIO) -> None:
    """Draw ``figure`` in one format. ``Figure.savefig`` draws it twice, the first time for nothing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    if kind == "png":
        FigureCanvasAgg(figure).print_png(to, metadata=UNDATED[kind])
    elif kind == "pdf":
        FigureCanvasPdf(figure).print_pdf(to, metadata=UNDATED[kind])
    else:
        FigureCanvasSVG(figure).print_svg(to, metadata=UNDATED[kind])
