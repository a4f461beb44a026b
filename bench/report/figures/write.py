"""Figures of a report: the list of them, written as PDF, PNG, SVG and the plotted numbers as CSV."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bench.core.record import GOLD_REWARD
from bench.report.analysis.analysis import Analysis, analyse_folder
from bench.report.analysis.comparison import Comparison
from bench.report.analysis.settings import Group
from bench.report.figures.curves import training_curves
from bench.report.figures.decision import decision, race_history
from bench.report.figures.frontier import reward_kl_frontier
from bench.report.figures.matrix import comparisons
from bench.report.figures.panels import logp_shift, score_vs_parameter
from bench.report.figures.saving import FORMATS, Drawing, Row, save
from bench.report.figures.scatter import alignment_tax, length_vs_reward
from bench.report.figures.style import Style, house, style_of
from bench.report.figures.trials import best_of_n, variance
from bench.report.tables.leaderboard import csv_text
from bench.report.tables.text import reward_key
from bench.utils.cores import available_cores
from bench.utils.files import naming_disk_errors, write_text_whole

Draw = Callable[[Group, Style], Iterator[Drawing]]
DrawVerdict = Callable[[Comparison, Style], Iterator[Drawing]]
Job = Callable[[], list[Path]]
VERDICTS: dict[DrawVerdict, tuple[str, ...]] = {
    decision: ("decision",),
    race_history: ("race",),
    comparisons: ("win-matrix", "mean-ranks"),
}
FIGURES: dict[Draw, tuple[str, ...]] = {
    score_vs_parameter: ("score-vs-",),
    reward_kl_frontier: ("reward-kl-frontier",),
    length_vs_reward: ("length-vs-reward",),
    training_curves: ("training-curves",),
    logp_shift: ("logp-shift",),
    alignment_tax: ("alignment-tax",),
    best_of_n: ("best-of-n",),
    variance: ("variance",),
}
"""What draws figures, and how their names begin: a figure of several pages has «-2», … at the end."""
NAMES = tuple(name for names in (*VERDICTS.values(), *FIGURES.values()) for name in names)
FORMER = ("critical-difference",)
"""Figures of earlier versions: they are removed like other earlier figures."""


def write_figures(
    results: Path,
    *,
    analysis: Analysis | None = None,
    style: str = "paper",
    formats: Sequence[str] = FORMATS,
    columns: int | None = None,
    processes: int | None = None,
) -> list[Path]:
    """Draw every figure into ``results/figures``; return the written paths, sorted.

    Numbers come from ``analysis`` or, without one, from the records under ``results``.

    Records of several protocols (or suites, models, data sets) have a folder each, since their numbers do not compare.
    A figure that the records have no numbers for is left out. Earlier figures are removed, also those in other formats:
    all files are of one style and of these records. ``processes`` share the work: by default one a core, or this one
    alone where it could not fork safely; the files are the same, byte for byte.

    Raises:
        RunError: a damaged record, a full disk and the like.
        UsageError: an unknown style, or another number of columns.
    """
    look = style_of(style, columns=columns)
    compared = (analysis or analyse_folder(results)).comparisons
    root = results / "figures"
    jobs: list[Job] = []
    for index, comparison in enumerate(compared):
        folder = root / figure_folder(comparison.group, index, len(compared))
        drawn = [partial(draw, comparison, look) for draw in VERDICTS]
        drawn += [partial(draw, comparison.group, look) for draw in FIGURES]
        reward = reward_key(comparison.group)
        jobs += [partial(_write, draw, folder, style=look, formats=formats, reward=reward) for draw in drawn]
    written = _run(jobs, processes=_processes() if processes is None else processes)
    with naming_disk_errors(root, "remove an earlier figure from"):
        for path in set(_earlier(root)) - set(written):
            path.unlink(missing_ok=True)
    return sorted(written)


def _write(
    draw: Callable[[], Iterator[Drawing]], folder: Path, *, style: Style, formats: Sequence[str], reward: str
) -> list[Path]:
    from pandas import DataFrame

    written = []
    with house(style):
        for drawing in draw():
            written += save(drawing.figure, folder / drawing.name, formats=formats)
            written.append(folder / f"{drawing.name}.csv")
            write_text_whole(written[-1], csv_text(DataFrame(_named(drawing.rows, reward))))
    return written


def _named(rows: Sequence[Row], reward: str) -> list[Row]:
    """Return plotted numbers with the reward under its name in files, as a column or as a quantity."""

    def renamed(text: object) -> object:
        return text.replace(GOLD_REWARD, reward) if isinstance(text, str) and text.startswith(GOLD_REWARD) else text

    return [{str(renamed(name)): renamed(value) for name, value in row.items()} for row in rows]


def _processes() -> int:
    """Return how many processes draw: a fork is safe on Linux while no other thread runs and torch is not loaded."""
    forks = sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
    return available_cores() if forks else 1


def _run(jobs: Sequence[Job], *, processes: int) -> list[Path]:
    """Run all jobs, in forks of this process where there are to be several: what was read is not copied to them."""
    if processes == 1:
        return [path for job in jobs for path in job()]
    import matplotlib.figure  # noqa: F401  # loaded once, for all of them

    _jobs[:] = jobs
    try:
        with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("fork")) as pool:
            return [path for paths in pool.map(_run_job, range(len(jobs))) for path in paths]
    finally:
        _jobs.clear()


_jobs: list[Job] = []
"""What forked processes find: the jobs hold all records, which would take long to send."""


def _run_job(number: int) -> list[Path]:
    return _jobs[number]()


def figure_folder(group: Group, index: int, groups: int) -> str:
    """Return the sub-folder of the figures of group ``index`` (from 0) of ``groups``: none where it is the only one."""
    return "" if groups == 1 else f"{index + 1}-{group.suite}-{group.protocol[:8]}"


def _earlier(root: Path) -> list[Path]:
    """Return the earlier figures under ``root``; other files there are the user's own."""
    with naming_disk_errors(root, "read"):
        folders = [root, *(path for path in sorted(root.glob("[0-9]*-*")) if path.is_dir())]
        paths = [path for folder in folders for kind in (*FORMATS, "csv") for path in folder.glob(f"*.{kind}")]
        return [path for path in paths if any(_is_of(path.stem, name) for name in (*NAMES, *FORMER))]


def _is_of(stem: str, name: str) -> bool:
    if name.endswith("-"):
        return stem.startswith(name)
    return stem == name or (stem.startswith(f"{name}-") and stem.removeprefix(f"{name}-").isdigit())
