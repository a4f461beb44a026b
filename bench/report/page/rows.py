"""Rows of the page's leaderboard: marks, names in links and warnings of each setting."""

import hashlib
from dataclasses import dataclass

from bench.core.record import START
from bench.report.analysis.comparison import Comparison
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Setting, interval, values
from bench.report.figures.colours import best_first, colour_of, looks
from bench.report.figures.style import GREY
from bench.report.tables.columns import DEGENERATE, FLAGGED, STATUSES

MARKS = {
    "o": "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z",
    "s": "M2 2h8v8h-8z",
    "^": "M6 1.2l5 9h-10z",
    "v": "M6 10.8l5-9h-10z",
    "D": "M6 .8l5.2 5.2l-5.2 5.2l-5.2-5.2z",
    "P": "M4.2 1h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
    "X": "M3.4 1l2.6 2.6l2.6-2.6l2.4 2.4l-2.6 2.6l2.6 2.6l-2.4 2.4l-2.6-2.6l-2.6 2.6l-2.4-2.4l2.6-2.6l-2.6-2.6z",
    "p": "M6 .8l5 3.6l-1.9 6.1h-6.2l-1.9-6.1z",
    "<": "M1.2 6l9-5v10z",
    ">": "M10.8 6l-9-5v10z",
    "d": "M6 .5l3.4 5.5l-3.4 5.5l-3.4-5.5z",
    "h": "M6 .8l4.6 2.6v5.2l-4.6 2.6l-4.6-2.6v-5.2z",
}
"""Outline of each marker of the figures, in a box of 12 × 12."""


@dataclass(frozen=True)
class PageRow:
    """One row of the page's leaderboard."""

    name: str
    objective: str
    colour: str
    mark: str
    best: bool
    first: bool
    start: bool
    statuses: tuple[str, ...]
    notes: tuple[str, ...]


def page_rows(comparison: Comparison, *, number: int) -> list[PageRow]:
    """Return the rows in the leaderboard's order; ``number`` is that of the group."""
    group = comparison.group
    look, leading = looks(best_first(group)), comparison.first
    rows = []
    for setting in ranked(group):
        start = setting.objective == START
        statuses = {record.status for record in setting.every_record}
        rows.append(
            PageRow(
                name=row_name(setting, number=number),
                objective=setting.objective,
                colour=GREY if start else colour_of(setting.objective),
                mark=MARKS["o" if start else look[setting.objective].marker],
                best=setting.best,
                first=setting is leading,
                start=start,
                statuses=tuple(status for status in STATUSES if status in statuses),
                notes=degenerate_notes(setting),
            )
        )
    return rows


def row_name(setting: Setting, *, number: int) -> str:
    """Return the name of a setting in links: the same whatever other settings there are in its group."""
    identity = repr((setting.objective, setting.objective_version, setting.params, setting.train))
    digest = hashlib.sha256(("" if setting.objective == START else identity).encode()).hexdigest()[:8]
    readable = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in setting.objective)
    return f"g{number}-{readable[:40]}-{digest}"


def degenerate_notes(setting: Setting) -> tuple[str, ...]:
    """Return what share of the completions is no answer, a phrase for each kind above ``FLAGGED``."""
    records = setting.test if values(setting.test, "empty_share", task="generation") else setting.validation
    shares = {text: interval(records, name, task="generation").mean for name, text in DEGENERATE.items()}
    return tuple(f"{100 * share:.0f} % {text}" for text, share in shares.items() if share > FLAGGED)
