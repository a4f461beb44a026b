"""Summary at the end of a command: the best settings first, the others beneath, and the verdict, in 80 columns."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.core.record import GOLD_REWARD, REWARD, START
from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.comparison import Comparison
from bench.report.analysis.correction import correction_texts
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting, Split, values
from bench.report.analysis.warnings import warnings_of
from bench.report.tables.column import Column, Entry
from bench.report.tables.columns import FLAGGED, is_degenerate, output_columns
from bench.report.tables.tasks import tax_text
from bench.report.tables.text import NOTHING, setting_text, target_formula, terms_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

ASIDE = (GOLD_REWARD, REWARD, "win_rate", "blimp")
"""Columns of tested settings that make room for names, the first one first."""
WIDE, NAMES = 80, 26
"""Characters of a terminal's line, and of it for names where other columns can make room."""
OTHERS = 24
"""Settings beneath the best ones that are shown; the files have all of them."""


def summary_table(comparisons: Iterable[Comparison], *, others: bool = True) -> "RenderableType":
    """Return each group's tables and its verdict: tested settings and the start model by test target, then the others.

    ``others`` off leaves out the settings that were not tested where there are tested ones.
    """
    from rich.console import Group as Together

    return Together(*(part for comparison in comparisons for part in _summary(comparison, others=others)))


def verdict_lines(comparison: Comparison) -> list[str]:
    """Return the verdict's sentence, with what a seed costs, and a line for each warning that holds."""
    return [comparison.verdict.full_text, *(f"⚠ {warning}" for warning in warnings_of(comparison))]


def _summary(comparison: Comparison, *, others: bool) -> "list[RenderableType]":
    from rich.text import Text

    group = comparison.group
    rows = ranked(group)
    tested = [setting for setting in rows if values(setting.test, "target")]
    trained = [setting for setting in tested if setting.objective != START]
    rest = [setting for setting in rows if not any(setting is one for one in tested)]
    parts: list[RenderableType] = [Text(f"{group.suite}: {terms_text(group.tuning)}", style="bold", justify="center")]
    formula = f"target = {target_formula(group)}"
    if trained:
        parts.append(_table(comparison, tested, "test", title=f"test prompts, {formula}"))
    if not trained or (others and rest):
        untested = rest if trained else rows
        title = "other settings, validation prompts" if trained else f"validation prompts, {formula}"
        parts.append(_table(comparison, untested[:OTHERS] if trained else untested, "validation", title=title))
        if trained and len(untested) > OTHERS:
            parts.append(Text(f"and {len(untested) - OTHERS} other settings: leaderboard.md", style="dim"))
    parts.append(Text(_notes(comparison), style="dim"))
    first, *warnings = verdict_lines(comparison)
    parts += [Text(f"\n{first}", style="bold"), *(Text(line) for line in warnings), Text("")]
    return parts


def _table(comparison: Comparison, settings: Sequence[Setting], split: Split, *, title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_style="", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="left", no_wrap=True, overflow="fold")
    table.add_column("objective, setting", justify="left", overflow="fold")
    names = [_name(one, comparison.group) for one in settings]
    cells = [["★" if setting.best else "" for setting in settings], names]
    for column, heading, texts in _columns(comparison, settings, split, names=max(map(len, names))):
        table.add_column(heading, justify="right" if column.numeric else "left", no_wrap=True, overflow="fold")
        cells.append(texts)
    for setting, row in zip(settings, zip(*cells, strict=True), strict=True):
        table.add_row(*row, style="bold" if setting.best else "dim" if setting.objective == START else None)
    return table


def _columns(
    comparison: Comparison, settings: Sequence[Setting], split: Split, *, names: int
) -> list[tuple[Column, str, list[str]]]:
    """Return the columns that have a value, each with its heading and its texts, as many as leave room for names."""
    made = []
    for column in output_columns(comparison.group, "terminal"):
        entries = (
            Entry(comparison, one, comparison.result(one) if split == "test" else None, split) for one in settings
        )
        texts = [_narrow(column, entry) for entry in entries]
        if any(text not in ("", NOTHING) for text in texts):
            # a word in each line: the columns of numbers are narrow
            heading = "\n".join([*column.heading(comparison, "terminal", unit=False).split(), *column.unit.split()])
            made.append((column, heading, texts))
    for key in ASIDE:
        width = sum(max(map(len, (*heading.split("\n"), *texts))) + 1 for _, heading, texts in made)
        if width + min(names, NAMES) + 3 > WIDE:
            made = [each for each in made if each[0].key != key]
    return made


def _notes(comparison: Comparison) -> str:
    group = comparison.group
    lines = ["± 95 % interval over seeds and prompts, with * over one seed's prompts; ★ best by validation"]
    tax = tax_text(comparison.tasks)
    lines += [tax] if tax else []
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
    """Return a value without spaces, and of a verdict its word: the table fits a terminal of 80 columns."""
    text = column.text(entry, "terminal")
    if column.key in ("verdict", "key"):
        return text.split(",")[0].split()[0] if text else ""
    return text.replace(" ", "")
