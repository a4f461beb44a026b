"""Leaderboard in LaTeX: a table for each group, to be input by a document with booktabs and siunitx."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report.analysis.comparison import Comparison, score_interval
from bench.report.analysis.settings import Group, Setting
from bench.report.tables.column import Column, Entry, entries
from bench.report.tables.columns import FLAGGED, is_degenerate, output_columns
from bench.report.tables.format import Value
from bench.report.tables.text import is_rate, reward_label, target_formula, terms
from bench.stats.intervals import Interval, bare

BOLD = ("objective", "target")
"""Columns that are bold in the first row."""
ROWS = 45
"""Rows of one table: as many as a page holds beside its caption."""
GREEK_NAMES = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *("nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
)
GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψω", GREEK_NAMES, strict=True))
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "·": r"$\cdot$",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    **{char: rf"\{char}" for char in "&%$#_{}"},
    **{char: rf"$\{name}$" for char, name in GREEK.items()},
}
NOTHING = "{--}"
LONGEST = 20
"""Characters of a name or a setting above which its column breaks lines."""
BREAKING = r">{\raggedright\arraybackslash}p{8em}"


STYLES = [
    {"selector": "par", "props": ":\\medskip;"},
    {"selector": "footnotesize", "props": ":;"},
    {"selector": "setlength", "props": ":{\\tabcolsep}{4pt};"},
    {"selector": "sisetup", "props": ":{separate-uncertainty, table-align-uncertainty=false, detect-weight};"},
]
"""Commands between the caption and the table."""


@dataclass(frozen=True)
class LatexColumn:
    """One column as LaTeX: its heading, its column type, and a cell for each row."""

    heading: str
    type: str
    cells: tuple[str, ...]


def leaderboard_latex(comparisons: Sequence[Comparison]) -> str:
    """Return the leaderboard as LaTeX: a ``table*`` for each group, with the terms of its protocol in the caption.

    The document must load ``booktabs`` and ``siunitx`` (version 2 or 3), and nothing else. Rows are the settings that
    validation chose, and the start model. The labels are ``tab:leaderboard``, ``tab:leaderboard-2`` and so on.
    """
    head = "% Written by `bench leaderboard`. Needs \\usepackage{booktabs} and \\usepackage{siunitx}.\n"
    return head + "".join(_group(comparison, number) for number, comparison in enumerate(comparisons, start=1))


def escape(text: str) -> str:
    """Return ``text`` as LaTeX sets it literally, in any input and font encoding; Greek letters become mathematics."""
    return "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char in SPECIAL:
        return SPECIAL[char]
    plain = char.isascii() or unicodedata.normalize("NFKD", char)[0].isascii()
    return char if plain else rf"\texttt{{U+{ord(char):04X}}}"


def _group(comparison: Comparison, number: int) -> str:
    group = comparison.group
    rows = [entry for entry in entries(comparison) if entry.setting.best or entry.setting is group.start]
    columns = [_column(column, rows, comparison) for column in output_columns(group, "latex")]
    columns = columns[:3] + [c for c in columns[3:] if any(cell not in ("", "--", NOTHING) for cell in c.cells)]
    label = "tab:leaderboard" if number == 1 else f"tab:leaderboard-{number}"
    tables = []
    for first in range(0, len(rows), ROWS):
        caption, name = (
            (_caption(group, rows, margin=comparison.verdict.margin), label) if first == 0 else ("(continued)", None)
        )
        tables.append(_table(columns, slice(first, first + ROWS), caption=caption, label=name))
    return "".join(tables)


def _table(columns: Sequence[LatexColumn], rows: slice, *, caption: str, label: str | None) -> str:
    from pandas import DataFrame

    frame = DataFrame(list(zip(*(column.cells[rows] for column in columns), strict=True)))
    frame.columns = [column.heading for column in columns]
    style = frame.style.hide(axis="index").set_table_styles(STYLES)
    text: str = style.to_latex(
        hrules=True,
        environment="table*",
        position="tbp",
        position_float="centering",
        column_format=f"@{{}}{' '.join(column.type for column in columns)}@{{}}",
        caption=caption,
        label=label,
    )
    return text


def _column(column: Column, rows: Sequence[Entry], comparison: Comparison) -> LatexColumn:
    """Return one column of the leaderboard as LaTeX; objective and target of the first row are bold."""
    heading = escape(column.heading(comparison, "latex"))
    if column.shows["latex"].style == "spread":
        made = _numbers(heading, [column.value(entry) for entry in rows], places=column.shows["latex"].places)
    elif column.key == "objective":
        cells = [_breaking(entry.setting.objective) + _flag(entry.setting) for entry in rows]
        made = LatexColumn(heading, _text_type(column, rows), tuple(cells))
    elif column.key == "setting_brief":
        made = LatexColumn(heading, _text_type(column, rows), tuple(_setting(column.text(e, "latex")) for e in rows))
    else:
        cells = [escape(column.text(entry, "latex")).replace("*", "$^*$") for entry in rows]
        made = LatexColumn(heading, "r" if column.numeric else "l", tuple(cells))
    if column.key not in BOLD:
        return made
    first = [entry.result is not None and entry.result.rank == 1 for entry in rows]
    cells = [rf"\bfseries {cell}" if bold and cell else cell for cell, bold in zip(made.cells, first, strict=True)]
    return replace(made, cells=tuple(cells))


def _text_type(column: Column, rows: Sequence[Entry]) -> str:
    longest = max((len(column.text(entry, "latex")) for entry in rows if not entry.untrained), default=0)
    return BREAKING if longest > LONGEST else "l"


def _flag(setting: Setting) -> str:
    return r"$^\ddagger$" if is_degenerate(setting) else ""


def _breaking(name: str) -> str:
    """Return an objective's name as LaTeX, which may be broken after its signs."""
    return "".join(escape(char) + ("" if char.isalnum() or char in ".()" else r"\allowbreak{}") for char in name)


def _numbers(heading: str, numbers: Sequence[Value], *, places: int) -> LatexColumn:
    """Return a column of aligned numbers with ±; a star marks those from one seed, as in the Markdown."""
    values = [number if isinstance(number, Interval) else _exact(number) for number in numbers]
    known = [one for one in values if not math.isnan(one.mean)]
    whole = max((len(f"{abs(one.mean):.0f}") for one in known), default=1)
    sign = "-" if any(f"{one.mean:z.{places}f}".startswith("-") for one in known) else ""
    halves = [_digits(one.half, places) for one in known if not math.isnan(one.half)]
    spread = f"({max(map(len, halves))})" if halves else ""
    star = "{$^*$}" if any(one.source == "prompts" for one in known) else ""
    post = f", table-space-text-post={star}" if star else ""
    cells = []
    for one in values:
        digits = "0" if math.isnan(one.half) else _digits(one.half, places)
        half = "" if digits == "0" else f"({digits})"
        mark = star if half and one.source == "prompts" else ""
        cells.append(NOTHING if math.isnan(one.mean) else f"{one.mean:z.{places}f}{half}{mark}")
    return LatexColumn(f"{{{heading}}}", f"S[table-format={sign}{whole}.{places}{spread}{post}]", tuple(cells))


def _exact(number: Value) -> Interval:
    """Return a number without an interval as one. Raises TypeError for what is no number."""
    if number is not None and not isinstance(number, int | float):
        raise TypeError(f"a column with ± must hold numbers or intervals (got {number!r})")
    return bare(math.nan if number is None else number)


def _digits(half: float, places: int) -> str:
    """Return an uncertainty in units of the last place, as siunitx reads it: 0.020 with three places is 20."""
    return str(round(half * 10**places))


def _setting(text: str) -> str:
    """Return «beta=0.1 lr=0.0003» as LaTeX: Greek names as letters, numbers by siunitx."""
    parts = []
    for part in text.split(" "):
        name, equals, value = part.partition("=")
        symbol = rf"$\{name}$" if name in GREEK_NAMES else escape(name)
        parts.append(f"{symbol}\\,=\\,{_value(value)}" if equals else symbol)
    return ", ".join(parts)


def _value(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return escape(text)
    return rf"\num{{{text}}}" if math.isfinite(number) else escape(text)


def _target(group: Group) -> str:
    if is_rate(group):
        return rf"{escape(target_formula(group))}"
    return rf"$J = \mathrm{{E}}[r] - {group.beta0:g}\,\mathrm{{KL}}$ with {escape(reward_label(group))} $r$"


def _caption(group: Group, rows: Sequence[Entry], *, margin: float) -> str:
    starred = any(score_interval(entry.setting.test).source == "prompts" for entry in rows)
    flagged = any(is_degenerate(entry.setting) for entry in rows)
    parts = [
        rf"Objectives on {escape(group.suite)} (version {group.suite_version}), each at the setting that validation "
        rf"prompts chose, by the target on test prompts, {_target(group)}; "
        r"KL to the start model in nats per completion.",
        r"$\pm$: half of the 95\,\% interval, for new seeds and prompts"
        + (r" ($^*$: one seed, for new prompts alone)." if starred else "."),
        rf"Verdict and $p$: against the first; equal: within {margin:g}. Over all pairs the chance of any wrong "
        r"``worse'', and that of any wrong ``equal'', is 5\,\%. Bold: the highest mean.",
        rf"$^\ddagger$: more than {FLAGGED * 100:g}\,\% of the samples are no answers." if flagged else "",
        rf"Protocol \texttt{{{escape(group.protocol)}}}: {escape(', '.join(terms(group.tuning)) or 'terms unknown')}.",
    ]
    return " ".join(filter(None, parts))
