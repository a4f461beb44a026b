"""The summary that ends a run: a table that fits a terminal of 80 columns."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.core.record import START
from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.columns import FLAGGED, is_degenerate
from bench.report.analysis.compared import score_interval
from bench.report.analysis.settings import Group, Setting, Split, interval, plotted_split
from bench.report.tables.gain import no_gain_text
from bench.report.tables.text import NOTHING, number, percent, setting_text, target_formula, terms_text
from bench.stats.intervals import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

NAMES = ("", "objective, setting")


def summary_table(groups: Iterable[Group]) -> "RenderableType":
    """Return what ends a run: a table for each group, the start model on top, the best of an objective with ★.

    Numbers are of the test prompts where all settings have them, else of the validation prompts; the title says which.
    Where only the best ones were tested, their test target stands beside.
    """
    from rich.console import Group as Together

    return Together(*map(_summary, groups))


def _summary(group: Group) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    split = plotted_split(group)
    title = f"{group.suite}: {split} prompts, target = {target_formula(group)}\n{terms_text(group.tuning)}"
    caption = "± 95 % interval over seeds and prompts, with * over one seed's prompts; ★ best by validation"
    gained_nothing = no_gain_text(group)
    caption += f"\n{gained_nothing}" if gained_nothing else ""
    caption += "".join(f"\n{agreement_text(found)}" for found in judges_agree(group))
    flags = [setting for setting in group.settings if is_degenerate(setting)]
    caption += f"\n⚠ more than {100 * FLAGGED:g} % of the test samples are no answers" if flags else ""
    table = Table(
        title=title, title_style="bold", caption=caption, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    settings = ([group.start] if group.start else []) + list(group.settings)
    rows = [_summary_cells(setting, split, group) for setting in settings]
    if split == "validation" and any(setting.test for setting in group.settings):
        rows = [row | {"test\ntarget": _narrow(score_interval(s.test))} for s, row in zip(settings, rows, strict=True)]
    measured = [name for name in rows[0] if name in NAMES or any(row[name] != NOTHING for row in rows)]
    for name in measured:
        named = name in NAMES
        wraps = name == "objective, setting"
        table.add_column(name, justify="left" if named else "right", no_wrap=not wraps, overflow="fold")
    for setting, row in zip(settings, rows, strict=True):
        style = "bold" if setting.best else "dim" if setting.objective == START else None
        table.add_row(*(row[name] for name in measured), style=style)
    return table


def _summary_cells(setting: Setting, split: Split, group: Group) -> dict[str, str]:
    records = setting.records(split)
    troubles = sorted({r.status for r in (*setting.validation, *setting.test) if r.status != "completed"})
    named = "untrained" if setting.objective == START else setting_text(setting, group, brief=True)
    return {
        "": "★" if setting.best else "",
        "objective, setting": " ".join(
            [setting.objective, *(["⚠"] if is_degenerate(setting) else []), named, *troubles]
        ),
        "target": _narrow(score_interval(records)),
        "gold\nreward": _narrow(score_interval(records, name="gold_reward")),
        "KL\nnats": number(interval(records, "kl"), places=1, spread=False),
        "wins\n%": number(interval(records, "win_rate", task="judge"), places=1, spread=False),
        "BLiMP\n%": number(percent(interval(records, "acc", task="blimp")), places=1, spread=False),
    }


def _narrow(found: Interval) -> str:
    """Return the number with two places and no spaces: the table fits a terminal of 80 columns."""
    return number(found, places=2).replace(" ", "")
