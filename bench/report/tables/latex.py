"""The leaderboard in LaTeX: a table for each group, to be input by a document with booktabs and siunitx."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.record import START
from bench.report.analysis.columns import FLAGGED, is_degenerate
from bench.report.analysis.compared import Compared, score_interval
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting, interval
from bench.report.tables.text import is_rate, letters_text, p_text, percent, setting_text, target_formula, terms
from bench.stats.intervals import Interval
from bench.stats.paired import PairedTest

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


@dataclass(frozen=True)
class Column:
    """One column: its head, how it is set, and a cell for each row."""

    head: str
    format: str
    cells: tuple[str, ...]


def leaderboard_latex(groups: Sequence[Compared]) -> str:
    """Return the leaderboard as LaTeX: a ``table*`` for each group, with the terms of its protocol in the caption.

    The document must load ``booktabs`` and ``siunitx`` (version 2 or 3), and nothing else. Rows are the settings that
    validation chose, and the start model. The labels are ``tab:leaderboard``, ``tab:leaderboard-2`` and so on.
    """
    head = "% Written by `bench leaderboard`. Needs \\usepackage{booktabs} and \\usepackage{siunitx}.\n"
    return head + "".join(_group(group, at) for at, group in enumerate(groups, start=1))


def escape(text: str) -> str:
    """Return ``text`` as LaTeX sets it literally, in any input and font encoding; Greek letters become mathematics."""
    return "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char in SPECIAL:
        return SPECIAL[char]
    plain = char.isascii() or unicodedata.normalize("NFKD", char)[0].isascii()
    return char if plain else rf"\texttt{{U+{ord(char):04X}}}"


def _group(compared: Compared, at: int) -> str:
    group = compared.group
    shown = [setting for setting in ranked(group) if setting.best or setting is group.start]
    columns = _columns(compared, shown)
    label = "tab:leaderboard" if at == 1 else f"tab:leaderboard-{at}"
    tables = []
    for first in range(0, len(shown), ROWS):
        caption = _caption(group, shown) if first == 0 else "(continued)"
        named = f"\\label{{{label}}}" if first == 0 else ""
        body = [
            " & ".join(c.cells[row] for c in columns) + r" \\" for row in range(first, min(first + ROWS, len(shown)))
        ]
        tables.append(_table(columns, body, caption=f"\\caption{{{caption}}}{named}"))
    return "".join(tables)


def _table(columns: Sequence[Column], body: Sequence[str], *, caption: str) -> str:
    lines = [
        r"\begin{table*}[tbp]",
        r"\centering",
        caption,
        r"\par\medskip",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        r"\sisetup{separate-uncertainty, table-align-uncertainty=false, detect-weight}",
        rf"\begin{{tabular}}{{@{{}}{' '.join(column.format for column in columns)}@{{}}}}",
        r"\toprule",
        " & ".join(column.head for column in columns) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _columns(compared: Compared, shown: Sequence[Setting]) -> list[Column]:
    rows = [compared.rows[one.objective] if one.best else None for one in shown]
    first = [row is not None and row.rank == 1 for row in rows]

    def bold(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(rf"\bfseries {cell}" if top and cell else cell for cell, top in zip(cells, first, strict=True))

    names = [_breaking(one.objective) + (r"$^\ddagger$" if is_degenerate(one) else "") for one in shown]
    texts = ["" if one.objective == START else setting_text(one, compared.group, brief=True) for one in shown]
    settings = [_setting(text) if text else "untrained" for text in texts]
    wide = [max(map(len, found), default=0) > LONGEST for found in ([one.objective for one in shown], texts)]
    target = _numbers("$J$", [score_interval(one.test) for one in shown], places=3)
    beats = [percent(row.improvement) if row else None for row in rows]
    found = [
        Column("objective", BREAKING if wide[0] else "l", bold(names)),
        Column("setting", BREAKING if wide[1] else "l", tuple(settings)),
        Column(target.head, target.format, bold(target.cells)),
        Column("ties", "l", tuple(escape(letters_text(row.letters)) if row else "" for row in rows)),
        Column("$p$", "r", tuple(_p(row.to_first) if row else "" for row in rows)),
        Column(rf"beats {escape(compared.baseline or 'baseline')} [\%]", "r", tuple(map(_span, beats))),
        _numbers("gold reward", [score_interval(one.test, name="gold_reward") for one in shown], places=3),
        _numbers("KL [nats]", [score_interval(one.test, name="kl") for one in shown], places=1),
        _numbers(r"win rate [\%]", [interval(one.test, "win_rate", task="judge") for one in shown], places=1),
    ]
    always = (0, 1, 2)
    return [c for at, c in enumerate(found) if at in always or any(cell not in ("", "--", NOTHING) for cell in c.cells)]


def _breaking(name: str) -> str:
    """Return an objective's name as LaTeX, which may be broken after its signs."""
    return "".join(escape(char) + ("" if char.isalnum() or char in ".()" else r"\allowbreak{}") for char in name)


def _numbers(head: str, found: Sequence[Interval], *, places: int) -> Column:
    """Return a column of aligned numbers with ±; a star marks those from one seed, as in the Markdown."""
    known = [one for one in found if not math.isnan(one.mean)]
    whole = max((len(f"{abs(one.mean):.0f}") for one in known), default=1)
    sign = "-" if any(f"{one.mean:z.{places}f}".startswith("-") for one in known) else ""
    halves = [_digits(one.half, places) for one in known if not math.isnan(one.half)]
    spread = f"({max(map(len, halves))})" if halves else ""
    star = "{$^*$}" if any(one.source == "prompts" for one in known) else ""
    post = f", table-space-text-post={star}" if star else ""
    cells = []
    for one in found:
        digits = "0" if math.isnan(one.half) else _digits(one.half, places)
        half = "" if digits == "0" else f"({digits})"
        mark = star if half and one.source == "prompts" else ""
        cells.append(NOTHING if math.isnan(one.mean) else f"{one.mean:z.{places}f}{half}{mark}")
    return Column(f"{{{head}}}", f"S[table-format={sign}{whole}.{places}{spread}{post}]", tuple(cells))


def _digits(half: float, places: int) -> str:
    """Return an uncertainty in units of the last place, as siunitx reads it: 0.020 with three places is 20."""
    return str(round(half * 10**places))


def _setting(text: str) -> str:
    """Return «beta=0.1 lr=0.0003» as LaTeX: Greek names as letters, numbers by siunitx."""
    parts = []
    for part in text.split(" "):
        name, equals, value = part.partition("=")
        said = rf"$\{name}$" if name in GREEK_NAMES else escape(name)
        parts.append(f"{said}\\,=\\,{_value(value)}" if equals else said)
    return ", ".join(parts)


def _value(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return escape(text)
    return rf"\num{{{text}}}" if math.isfinite(number) else escape(text)


def _p(test: PairedTest) -> str:
    return escape(p_text(test)).replace("*", "$^*$")


def _span(found: Interval | None) -> str:
    if found is None:
        return ""
    return "--" if math.isnan(found.mean) else f"{found.mean:.0f} ({found.low:.0f}--{found.high:.0f})"


def _target(group: Group) -> str:
    if is_rate(group):
        return rf"{escape(target_formula(group))}"
    return rf"$J = \mathrm{{E}}[r] - {group.beta0:g}\,\mathrm{{KL}}$ with gold reward $r$"


def _caption(group: Group, shown: Sequence[Setting]) -> str:
    starred = any(score_interval(one.test).source == "prompts" for one in shown)
    flagged = any(is_degenerate(one) for one in shown)
    parts = [
        rf"Objectives on {escape(group.suite)} (version {group.suite_version}), each at the setting that validation "
        rf"prompts chose, by the target on test prompts, {_target(group)}; "
        r"KL to the start model in nats per completion.",
        r"$\pm$: half of the 95\,\% interval, for new seeds and prompts"
        + (r" ($^*$: one seed, for new prompts alone)." if starred else "."),
        r"Objectives that share a letter are not told apart (paired tests, Holm's correction over all pairs, 5\,\%); "
        r"$p$: against the first, corrected. Bold: the highest mean.",
        rf"$^\ddagger$: more than {FLAGGED * 100:g}\,\% of the samples are no answers." if flagged else "",
        rf"Protocol \texttt{{{escape(group.protocol)}}}: {escape(', '.join(terms(group.tuning)) or 'terms unknown')}.",
    ]
    return " ".join(filter(None, parts))
