"""Reports straight from records or from a results folder, as the commands make them."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pandas import DataFrame
from rich.console import RenderableType

from bench.core.record import RunRecord
from bench.report.analysis.analysis import analyse, load_analysis
from bench.report.figures import saving
from bench.report.figures.write import write_figures
from bench.report.page.render import page_html, write_page
from bench.report.tables.leaderboard import FORMATS, Paths, leaderboard, write_leaderboard
from bench.report.tables.summary import summary_table


def leaderboard_of(records: Iterable[RunRecord], *, protocol: str | None = None) -> DataFrame:
    return leaderboard(analyse(records, protocol=protocol))


def summary_of(records: Iterable[RunRecord], *, protocol: str | None = None) -> RenderableType:
    return summary_table(analyse(records, protocol=protocol))


def page_of(records: Iterable[RunRecord], *, results: Path) -> str:
    return page_html(analyse(records), results=results)


def write_tables(
    results: Path, *, protocol: str | None = None, formats: Collection[str] = FORMATS, tidy: bool = True
) -> Paths:
    return write_leaderboard(load_analysis(results, protocol=protocol), results, formats=formats, tidy=tidy)


def draw_all(results: Path, *, formats: Sequence[str] = saving.FORMATS, style: str = "paper") -> list[Path]:
    return write_figures(load_analysis(results), results, formats=formats, style=style)


def write_report(results: Path) -> Path:
    return write_page(load_analysis(results), results)
