"""Win rates by a strong judge of a random part, corrected by a cheap judge of all questions, model by model."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from rich import box
from rich.table import Table

from bench.errors import UsageError
from bench.evaluate.judges.agreement import shared_tables
from bench.evaluate.judges.csv_text import csv_text
from bench.evaluate.judges.judgements import Array, Judgements
from bench.stats.prediction_powered import FEWEST, corrected_difference, corrected_mean, values_needed, worth

FAR = 3.5
"""Standard errors between the cheap judge's means of the part and of the rest beyond which a part is hardly random."""


@dataclass(frozen=True, kw_only=True)
class CorrectedRate:
    """A model's win rate by the strong judge, in percent, with 95 % intervals for new questions and for these.

    ``cheap_rate``: by the cheap judge alone. ``strong_rate``, ``strong_low``, ``strong_high``: by the strong verdicts
    alone, for new questions. ``ppi_lambda``: PPI++'s weight of the cheap verdicts. ``correlation``: of both judges'
    verdicts where both are known. ``worth``: how many strong verdicts alone would give as narrow an interval.
    ``needed``: how many strong verdicts a wanted width takes; NaN: no width was wanted, or all would not do.
    """

    model: str
    questions: int
    strong_verdicts: int
    win_rate: float
    low: float
    high: float
    these_low: float
    these_high: float
    cheap_rate: float
    strong_rate: float
    strong_low: float
    strong_high: float
    ppi_lambda: float
    correlation: float
    worth: int
    needed: float
    baseline: str
    strong_judge: str
    cheap_judge: str


@dataclass(frozen=True, kw_only=True)
class CorrectedGap:
    """The paired difference of two models' corrected win rates, in points, with its 95 % interval for new questions."""

    first: str
    second: str
    strong_verdicts: int
    difference: float
    low: float
    high: float


def corrected_rates(
    cheap: Sequence[Judgements], strong: Sequence[Judgements], *, half: float | None = None
) -> tuple[list[CorrectedRate], list[CorrectedGap], list[str]]:
    """Return each model's corrected win rate, the best one first; its distance to each other one; and what to know.

    Args:
        cheap: one judge's verdicts on all questions of each model.
        strong: another judge's, on a random part of the same questions.
        half: percent points that half the interval's width shall be, for ``needed``.

    Raises:
        UsageError: several judges on one side, no model that both judged, other baselines, questions that cannot be
            matched, or too few strong verdicts.
    """
    first, second = _one_judge(cheap, called="cheap"), _one_judge(strong, called="strong")
    models = [name for name in first if name in second]
    if not models:
        raise UsageError(
            f"the judges have no model in common: {', '.join(list(first)[:3])} and {', '.join(list(second)[:3])}",
            fix="both files must call the models alike (generator_2 or model)",
        )
    values = {name: _values(first[name], second[name]) for name in models}
    rows = [_row(first[name], second[name], *values[name], half=half) for name in models]
    rows.sort(key=lambda row: (-row.win_rate, row.model))
    notes = [note for name in models for note in _notes(first[name], second[name], *values[name])]
    return rows, _gaps(rows, first, second), notes


def csv_of(rows: Sequence[CorrectedRate]) -> str:
    """Return the rows as CSV, with every digit; NaN is empty."""
    return csv_text(map(asdict, rows), columns=[field.name for field in fields(CorrectedRate)])


def terminal_tables(rows: Sequence[CorrectedRate], gaps: Sequence[CorrectedGap]) -> list[Table]:
    """Return the rates as a table, and a second one of the distances to the first row where there are any."""
    title = f"win rates by {rows[0].strong_judge}, corrected by {rows[0].cheap_judge}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for name in ("verdicts", "win rate %", "95 %", "without", "95 %", "λ", "worth"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.model,
            f"{row.strong_verdicts} of {row.questions}",
            f"{row.win_rate:.1f}",
            f"{row.low:.1f} to {row.high:.1f}",
            f"{row.strong_rate:.1f}",
            f"{row.strong_low:.1f} to {row.strong_high:.1f}",
            f"{row.ppi_lambda:.2f}",
            str(row.worth),
        )
    return [table, *([_gap_table(gaps)] if gaps else [])]


def planning_text(row: CorrectedRate, *, half: float) -> str:
    """Return how many strong verdicts make the interval as narrow as was wanted."""
    now = (row.high - row.low) / 2
    if math.isnan(row.needed):
        return (
            f"{row.model}: ± {now:.1f} now; ± {half:g} takes more questions: a strong verdict on all "
            f"{row.questions} would not do"
        )
    return f"{row.model}: ± {now:.1f} now; ± {half:g} takes {row.needed:.0f} strong verdicts of {row.questions}"


def _gap_table(gaps: Sequence[CorrectedGap]) -> Table:
    table = Table(title=f"{gaps[0].first} minus each other one, paired", box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for name in ("points", "95 %", "verdicts"):
        table.add_column(name, justify="right", no_wrap=True)
    for gap in gaps:
        table.add_row(
            gap.second, f"{gap.difference:+.1f}", f"{gap.low:+.1f} to {gap.high:+.1f}", str(gap.strong_verdicts)
        )
    return table


def _one_judge(judgements: Sequence[Judgements], *, called: str) -> dict[str, Judgements]:
    judges = list(dict.fromkeys(each.judge for each in judgements))
    if len(judges) != 1:
        raise UsageError(
            f"the {called} side has {len(judges)} judges ({', '.join(judges[:3])})",
            fix="give a file with the verdicts of one (column annotator)",
        )
    return {each.model: each for each in judgements}


def _values(cheap: Judgements, strong: Judgements) -> tuple[Array, Array]:
    """Return the strong and the cheap preferences of every question of either, ``[questions]``, NaN without one."""
    if cheap.baseline != strong.baseline:
        raise UsageError(
            f"{cheap.model}: {cheap.judge} judged it beside {cheap.baseline}, {strong.judge} beside {strong.baseline}",
            fix="both judges must see the same two answers",
        )
    tables = shared_tables([cheap.model], {cheap.model: cheap}, {strong.model: strong})
    if tables is None:
        raise UsageError(
            f"{cheap.model}: the verdicts of {cheap.judge} and {strong.judge} cannot be matched question for question",
            fix="give both files the column index, or instruction with different texts",
        )
    (cheaply,), (strongly,) = tables
    count = int((~np.isnan(strongly)).sum())
    if count < FEWEST:
        raise UsageError(
            f"{cheap.model}: {strong.judge} has {count} verdicts; an interval needs {FEWEST}",
            fix="at least 20 verdicts say something; `bench judges draw` chooses the questions",
        )
    unknown = int((~np.isnan(strongly) & np.isnan(cheaply)).sum())
    if unknown > count / 2:
        raise UsageError(
            f"{cheap.model}: {unknown} of {count} questions of {strong.judge} have no verdict of {cheap.judge}",
            fix="the cheap judge must have judged the same questions: number or word them alike",
        )
    return strongly, cheaply


def _row(
    cheap: Judgements, strong: Judgements, strongly: Array, cheaply: Array, *, half: float | None
) -> CorrectedRate:
    new, these = (corrected_mean(strongly, cheaply, items=items) for items in ("new", "these"))
    needed = None if half is None else values_needed(new, half=half / 100.0)
    both = ~np.isnan(strongly) & ~np.isnan(cheaply)
    varied = both.sum() > 2 and strongly[both].std() > 0 and cheaply[both].std() > 0
    rate, alone = new.interval.times(100), new.alone.times(100)
    return CorrectedRate(
        model=cheap.model,
        questions=new.size,
        strong_verdicts=new.n,
        win_rate=rate.mean,
        low=rate.low,
        high=rate.high,
        these_low=100.0 * these.interval.low,
        these_high=100.0 * these.interval.high,
        cheap_rate=100.0 * float(np.nanmean(cheaply)),
        strong_rate=alone.mean,
        strong_low=alone.low,
        strong_high=alone.high,
        ppi_lambda=new.weight,
        correlation=float(np.corrcoef(strongly[both], cheaply[both])[0, 1]) if varied else math.nan,
        worth=worth(new),
        needed=math.nan if needed is None else float(needed),
        baseline=cheap.baseline,
        strong_judge=strong.judge,
        cheap_judge=cheap.judge,
    )


def _gaps(
    rows: Sequence[CorrectedRate], cheap: dict[str, Judgements], strong: dict[str, Judgements]
) -> list[CorrectedGap]:
    gaps = []
    for other in rows[1:]:
        names = [rows[0].model, other.model]
        tables = shared_tables(names, cheap, strong)
        if tables is None:
            continue
        cheaply, strongly = tables
        if (~np.isnan(strongly).any(axis=0)).sum() < FEWEST:
            continue
        done = corrected_difference((strongly[0], cheaply[0]), (strongly[1], cheaply[1]))
        gap = done.interval.times(100)
        gaps.append(
            CorrectedGap(
                first=names[0],
                second=names[1],
                strong_verdicts=done.n,
                difference=gap.mean,
                low=gap.low,
                high=gap.high,
            )
        )
    return gaps


def _notes(cheap: Judgements, strong: Judgements, strongly: Array, cheaply: Array) -> list[str]:
    """Return what speaks against a random part, and what is missing."""
    notes = []
    known = ~np.isnan(strongly)
    if absent := int(np.isnan(cheaply).sum()):
        notes.append(f"{cheap.model}: {absent} questions without a verdict of {cheap.judge} count with its mean")
    refused = len(strong.preferences) - int(strong.judged.sum())
    if refused and refused < len(strong.preferences) / 2:
        notes.append(
            f"{cheap.model}: {strong.judge} has no verdict on {refused} of its questions; what it left out is taken "
            "for chance"
        )
    if not known.all() and (known[: known.sum()].all() or known[-known.sum() :].all()):
        notes.append(
            f"{cheap.model}: the {int(known.sum())} questions of {strong.judge} stand together at one end: the "
            "interval holds for a random part only (`bench judges draw` chooses one)"
        )
    distance = _distance(cheaply[known], cheaply[~known])
    if distance > FAR:
        notes.append(
            f"{cheap.model}: the cheap verdicts of {strong.judge}'s questions are {distance:.1f} standard errors from "
            "the others: a random part is hardly so"
        )
    return notes


def _distance(part: Array, rest: Array) -> float:
    part, rest = part[~np.isnan(part)], rest[~np.isnan(rest)]
    if len(part) < 2 or len(rest) < 2:
        return 0.0
    spread = np.concatenate([part, rest]).std(ddof=1) * math.sqrt(1 / len(part) + 1 / len(rest))
    return abs(float(part.mean() - rest.mean())) / float(spread) if spread > 0 else 0.0
