"""Summary at the end of a run: a table that fits a terminal of 80 columns."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.core.record import START
from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.comparison import Comparison
from bench.report.analysis.correction import correction_texts
from bench.report.analysis.settings import Group, Setting, Split, plotted_split
from bench.report.tables.column import Column, Entry
from bench.report.tables.columns import FLAGGED, is_degenerate, output_columns
from bench.report.tables.gain import no_gain_text
from bench.report.tables.text import NOTHING, setting_text, target_formula, terms_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def summary_table(comparisons: Iterable[Comparison]) -> "RenderableType":
    """Return a table for each group, the start model on top, the best setting of an objective with ★.

    Numbers are of the test prompts where all settings have them, else of the validation prompts, as the title says.
    Where only the best ones were tested, a column more has their test target.
    """
    from rich.console import Group as Together

    return Together(*map(_summary, comparisons))


def _summary(comparison: Comparison) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    group = comparison.group
    split = plotted_split(group)
    title = f"{group.suite}: {split} prompts, target = {target_formula(group)}\n{terms_text(group.tuning)}"
    table = Table(
        title=title, title_style="bold", caption=_caption(group), box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    settings = [*([group.start] if group.start else []), *group.settings]
    names = [_name(setting, group) for setting in settings]
    table.add_column("", justify="left", no_wrap=True, overflow="fold")
    table.add_column("objective, setting", justify="left", overflow="fold")
    cells = [["★" if setting.best else "" for setting in settings], names]
    for heading, column, column_split in _columns(comparison, split):
        texts = [_narrow(column, Entry(comparison, setting, None, column_split)) for setting in settings]
        if any(text != NOTHING for text in texts):
            table.add_column(heading, justify="right", no_wrap=True, overflow="fold")
            cells.append(texts)
    for setting, row in zip(settings, zip(*cells, strict=True), strict=True):
        table.add_row(*row, style="bold" if setting.best else "dim" if setting.objective == START else None)
    return table


def _columns(comparison: Comparison, split: Split) -> list[tuple[str, Column, Split]]:
    """Return the columns of numbers, each with its heading and the prompts that it is of."""
    columns: list[tuple[str, Column, Split]] = []
    for column in output_columns(comparison.group, "terminal"):
        # a word in each line: the columns of numbers are narrow
        heading = "\n".join([*column.heading(comparison, "terminal", unit=False).split(), *column.unit.split()])
        columns.append((heading, column, split))
    if split == "validation" and any(setting.test for setting in comparison.group.settings):
        columns += [("test\ntarget", column, "test") for _, column, _ in columns if column.key == "target"]
    return columns


def _caption(group: Group) -> str:
    lines = ["± 95 % interval over seeds and prompts, with * over one seed's prompts; ★ best by validation"]
    warning = no_gain_text(group)
    lines += [warning] if warning else []
    lines += map(agreement_text, judges_agree(group))
    lines += correction_texts(group)
    if any(is_degenerate(setting) for setting in group.settings):
        lines.append(f"⚠ more than {100 * FLAGGED:g} % of the test samples are no answers")
    return "\n".join(lines)


def _name(setting: Setting, group: Group) -> str:
    troubles = sorted({record.status for record in setting.every_record if record.status != "completed"})
    values = "untrained" if setting.objective == START else setting_text(setting, group, brief=True)
    return " ".join([setting.objective, *(["⚠"] if is_degenerate(setting) else []), values, *troubles])


def _narrow(column: Column, entry: Entry) -> str:
    """Return the number without spaces: the table fits a terminal of 80 columns."""
    return column.text(entry, "terminal").replace(" ", "")
