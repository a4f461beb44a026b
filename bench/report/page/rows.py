"""The rows of the page's leaderboard: each setting with its mark, its name in links, and what is amiss with it."""

import hashlib
import math
from dataclasses import dataclass

from bench.core.record import START, RunRecord
from bench.report.analysis.columns import STATUSES
from bench.report.analysis.compared import Compared
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Setting, interval, values
from bench.report.figures.colours import best_first, colour_of, looks
from bench.report.figures.style import GREY
from bench.report.page.columns import Cell, Column, columns
from bench.stats.intervals import LEVEL

DEGENERATE = {
    "empty_share": "empty",
    "copied_share": "the prompt again",
    "constant_share": "one token throughout",
    "repeated_share": "word for word another prompt's",
}
SUSPECT = 0.05
"""Share of degenerate completions above which a setting is flagged."""
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
class Row:
    """One setting as it is shown."""

    name: str
    objective: str
    colour: str
    mark: str
    best: bool
    first: bool
    start: bool
    statuses: tuple[str, ...]
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Verdict:
    """What the first row's target says of the others: objectives that tie, that lie below, that cannot be told yet."""

    first: Setting
    ties: tuple[str, ...]
    below: tuple[str, ...]
    unknown: tuple[str, ...]


def table(compared: Compared, *, at: int) -> tuple[list[Column], list[Row]]:
    """Return the columns that some row fills, and the rows in the leaderboard's order; ``at`` numbers the group."""
    group = compared.group
    settings = ranked(group)
    made = [(column, [cell(setting) for setting in settings]) for column, cell in columns(compared)]
    kept = [(column, cells) for column, cells in made if any(cell.key is not None for cell in cells)]
    look, leading = looks(best_first(group)), _first(compared)
    rows = []
    for place, setting in enumerate(settings):
        start = setting.objective == START
        rows.append(
            Row(
                name=row_name(setting, at=at),
                objective=setting.objective,
                colour=GREY if start else colour_of(setting.objective),
                mark=MARKS["o" if start else look[setting.objective].marker],
                best=setting.best,
                first=setting is leading,
                start=start,
                statuses=tuple(n for n in STATUSES if n in {r.status for r in records_of(setting)}),
                notes=degenerate_notes(setting),
                cells=tuple(cells[place] for _, cells in kept),
            )
        )
    return [column for column, _ in kept], rows


def row_name(setting: Setting, *, at: int) -> str:
    """Return the name of a setting in links: the same whatever other settings there are in its group."""
    identity = repr((setting.objective, setting.objective_version, setting.params, setting.train))
    digest = hashlib.sha256(("" if setting.objective == START else identity).encode()).hexdigest()[:8]
    readable = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in setting.objective)
    return f"g{at}-{readable[:40]}-{digest}"


def records_of(setting: Setting) -> tuple[RunRecord, ...]:
    """Return every record of a setting, those of the test prompts first."""
    return (*setting.test, *setting.validation)


def degenerate_notes(setting: Setting) -> tuple[str, ...]:
    """Return what share of the completions is no answer, a phrase for each kind above ``SUSPECT``."""
    records = setting.test if values(setting.test, "empty_share", task="generation") else setting.validation
    shares = {text: interval(records, name, task="generation").mean for name, text in DEGENERATE.items()}
    return tuple(f"{100 * share:.0f} % {text}" for text, share in shares.items() if share > SUSPECT)


def verdict(compared: Compared) -> Verdict | None:
    """Return who is first on test prompts, and from whom that difference can be told; None where nothing was tested."""
    first = _first(compared)
    if first is None:
        return None
    below_first = [row for row in compared.rows.values() if row.rank is not None and row.rank > 1]
    # one seed tells two runs apart, not two objectives
    others = {r.objective: math.nan if r.to_first.difference.source == "prompts" else r.to_first.p for r in below_first}
    return Verdict(
        first=first,
        ties=tuple(name for name, p in others.items() if p >= 1 - LEVEL),
        below=tuple(name for name, p in others.items() if p < 1 - LEVEL),
        unknown=tuple(name for name, p in others.items() if math.isnan(p)),
    )


def _first(compared: Compared) -> Setting | None:
    name = next((row.objective for row in compared.rows.values() if row.rank == 1), None)
    return None if name is None else compared.group.best(name)
