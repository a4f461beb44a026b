"""Owns which figures a report has, and writes them: PNG, PDF and the plotted numbers as CSV."""

from pathlib import Path

from bench.report.curves import training_curves
from bench.report.frontier import reward_kl_frontier
from bench.report.leaderboard import csv_text
from bench.report.panels import logp_shift, target_vs_beta
from bench.report.settings import Group, group_records
from bench.report.store import load_records, write_text_whole
from bench.report.style import save, style
from bench.report.whole import told

FIGURES = {
    "target-vs-beta": target_vs_beta,
    "reward-kl-frontier": reward_kl_frontier,
    "training-curves": training_curves,
    "logp-shift": logp_shift,
}
KINDS = ("png", "pdf", "csv")


def write_figures(results: Path) -> list[Path]:
    """Draw every figure from the records under ``results`` into ``results/figures``; return what was written, sorted.

    Where records of several protocols (or suites, models, data sets) lie there, each has a folder of its own, since
    their numbers do not compare. A figure that the records have no numbers for is left out, and an earlier one of that
    name is removed. Raises RunError for a damaged record, a full disk and the like.
    """
    groups = group_records(load_records(results))
    root = results / "figures"
    written = [
        path for at, group in enumerate(groups) for path in _write(group, root / figure_folder(group, at, len(groups)))
    ]
    stale = [root / folder / f"{name}.{kind}" for folder in _folders(root) for name in FIGURES for kind in KINDS]
    with told(root, "remove an earlier figure from"):
        for path in set(stale) - set(written):
            path.unlink(missing_ok=True)
    return sorted(written)


def _write(group: Group, folder: Path) -> list[Path]:
    from pandas import DataFrame

    written = []
    for name, draw in FIGURES.items():
        with style():
            figure, rows = draw(group)
            if not rows:
                continue
            written += save(figure, folder / name)
        written.append(folder / f"{name}.csv")
        write_text_whole(written[-1], csv_text(DataFrame(rows)))
    return written


def figure_folder(group: Group, at: int, groups: int) -> str:
    """Return the sub-folder of the figures of group ``at`` (from 0) of ``groups``: none where it is the only one."""
    return "" if groups == 1 else f"{at + 1}-{group.suite}-{group.protocol[:8]}"


def _folders(root: Path) -> list[str]:
    with told(root, "read"):
        return ["", *(path.name for path in sorted(root.glob("[0-9]*-*")) if path.is_dir())]
