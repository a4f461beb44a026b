"""The figures of a report, written as PDF, PNG, SVG, with the plotted numbers as CSV."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.report.analysis.analysis import Analysis, analyse_folder
from bench.report.analysis.settings import Group
from bench.report.figures.curves import training_curves
from bench.report.figures.frontier import reward_kl_frontier
from bench.report.figures.matrix import comparisons
from bench.report.figures.panels import logp_shift, score_vs_parameter
from bench.report.figures.saving import FORMATS, Drawing, save
from bench.report.figures.scatter import alignment_tax, length_vs_reward
from bench.report.figures.style import Style, house, style_of
from bench.report.figures.trials import best_of_n, variance
from bench.report.tables.leaderboard import csv_text
from bench.utils.files import naming_disk_errors, write_text_whole

FIGURES: dict[Callable[[Group, Style], Iterator[Drawing]], tuple[str, ...]] = {
    score_vs_parameter: ("score-vs-",),
    reward_kl_frontier: ("reward-kl-frontier",),
    length_vs_reward: ("length-vs-reward",),
    training_curves: ("training-curves",),
    logp_shift: ("logp-shift",),
    alignment_tax: ("alignment-tax",),
    best_of_n: ("best-of-n",),
    comparisons: ("win-matrix", "critical-difference"),
    variance: ("variance",),
}
"""What draws figures, and how their names begin: a figure of several pages has «-2», … at the end."""
NAMES = tuple(name for names in FIGURES.values() for name in names)


def write_figures(
    results: Path,
    *,
    analysis: Analysis | None = None,
    style: str = "paper",
    formats: Sequence[str] = FORMATS,
    columns: int | None = None,
) -> list[Path]:
    """Draw every figure into ``results/figures``; return the files written, sorted.

    Numbers come from ``analysis`` or, without one, from the records under ``results``.

    Where records of several protocols (or suites, models, data sets) lie there, each has a folder of its own, since
    their numbers do not compare. A figure that the records have no numbers for is left out. Earlier figures are
    removed, also those in other formats: what lies in the folder is of one style and of these records. Raises RunError
    for a damaged record, a full disk and the like, UsageError for an unknown style and another number of columns.
    """
    look = style_of(style, columns=columns)
    groups = (analysis or analyse_folder(results)).groups
    root = results / "figures"
    written = [
        path
        for at, group in enumerate(groups)
        for path in _write(group, root / figure_folder(group, at, len(groups)), style=look, formats=formats)
    ]
    with naming_disk_errors(root, "remove an earlier figure from"):
        for path in set(_earlier(root)) - set(written):
            path.unlink(missing_ok=True)
    return sorted(written)


def draw_figures(group: Group, *, style: Style) -> Iterator[Drawing]:
    """Draw every figure that ``group`` has numbers for, one after the other."""
    with house(style):
        for draw in FIGURES:
            yield from draw(group, style)


def _write(group: Group, folder: Path, *, style: Style, formats: Sequence[str]) -> list[Path]:
    from pandas import DataFrame

    written = []
    for drawing in draw_figures(group, style=style):
        written += save(drawing.figure, folder / drawing.name, formats=formats)
        written.append(folder / f"{drawing.name}.csv")
        write_text_whole(written[-1], csv_text(DataFrame(drawing.rows)))
    return written


def figure_folder(group: Group, at: int, groups: int) -> str:
    """Return the sub-folder of the figures of group ``at`` (from 0) of ``groups``: none where it is the only one."""
    return "" if groups == 1 else f"{at + 1}-{group.suite}-{group.protocol[:8]}"


def _earlier(root: Path) -> list[Path]:
    """Return the figures that lie under ``root``; other files there are the user's own."""
    with naming_disk_errors(root, "read"):
        folders = [root, *(path for path in sorted(root.glob("[0-9]*-*")) if path.is_dir())]
        found = [path for folder in folders for kind in (*FORMATS, "csv") for path in folder.glob(f"*.{kind}")]
        return [path for path in found if any(_is_of(path.stem, name) for name in NAMES)]


def _is_of(stem: str, name: str) -> bool:
    if name.endswith("-"):
        return stem.startswith(name)
    return stem == name or (stem.startswith(f"{name}-") and stem.removeprefix(f"{name}-").isdigit())
