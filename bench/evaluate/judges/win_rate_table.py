"""Table of win rates, one row for each judge and model: values, CSV, terminal."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from rich import box
from rich.table import Table

from bench.evaluate.judges.alpaca_eval import length_controlled as by_lengths
from bench.evaluate.judges.csv_text import csv_text
from bench.evaluate.judges.judgements import Judgements
from bench.evaluate.judges.length_control import BASELINE, UNKNOWN, ControlledRate, LengthControl, length_controlled


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """One model beside the baseline, in percent (50: as good as it); NaN where a number is unknown.

    ``n``: judged questions; ``missing``: questions without a judgement. ``avg_length``: characters of all its answers.
    """

    model: str
    n: int
    win_rate: float
    standard_error: float
    length_controlled_winrate: float
    avg_length: float
    lc_standard_error: float
    wins: int
    ties: int
    missing: int
    baseline: str
    judge: str
    length_control: str


def win_rates(
    judgements: Sequence[Judgements],
    *,
    control: LengthControl | None,
    by_index: bool = False,
    lengths_alone: bool = False,
) -> tuple[list[WinRate], list[str]]:
    """Return one row each judge and model, judges in the order given, the best model first; and what to know of them.

    Args:
        control: AlpacaEval's length control; None for question sets that it has no files for.
        by_index: as ``length_controlled``.
        lengths_alone: without ``control``, control for lengths alone (``alpaca_eval.length_controlled``).

    Raises:
        UsageError: as ``length_controlled``.
        RunError: as ``length_controlled``.
    """
    results = [_row(one, control=control, by_index=by_index, lengths_alone=lengths_alone) for one in judgements]
    notes = [
        note
        for one, (row, controlled) in zip(judgements, results, strict=True)
        for note in _notes(one, row, controlled)
    ]
    holed = [one.model for one in judgements if one.index is not None and not _whole(one.index)]
    if holed and control is not None:
        notes.append(
            f"{', '.join(holed)}: questions are absent, so it matters how their difficulty is joined: --join position, "
            "as AlpacaEval publishes, or --join index, by the question's number"
        )
    judges = list(dict.fromkeys(row.judge for row, _ in results))
    rows = sorted((row for row, _ in results), key=lambda row: (judges.index(row.judge), *_from_best(row)))
    return rows, notes


def csv_of(rows: Sequence[WinRate]) -> str:
    """Return the rows as CSV, with every digit; NaN is empty."""
    return csv_text(map(asdict, rows), columns=[field.name for field in fields(WinRate)])


def terminal_tables(rows: Sequence[WinRate]) -> list[Table]:
    """Return a table for the terminal of each judge: win rates ± one standard error."""
    judges = list(dict.fromkeys(row.judge for row in rows))
    return [_terminal_table([row for row in rows if row.judge == judge], title=judge) for judge in judges]


def _terminal_table(rows: Sequence[WinRate], *, title: str) -> Table:
    table = Table(title=f"win rates, judged by {title}", box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for name in ("n", "win rate %", "LC %", "length", "ties", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.model,
            str(row.n),
            _with_error(row.win_rate, row.standard_error),
            _with_error(row.length_controlled_winrate, row.lc_standard_error),
            "–" if math.isnan(row.avg_length) else f"{row.avg_length:.0f}",
            str(row.ties),
            str(row.missing),
        )
    return table


def _row(
    judgements: Judgements, *, control: LengthControl | None, by_index: bool, lengths_alone: bool
) -> tuple[WinRate, ControlledRate]:
    judged = judgements.preferences[judgements.judged]
    if control is not None:
        controlled, how = length_controlled(judgements, control, by_index=by_index), "alpaca_eval"
    elif lengths_alone and len(judged):
        controlled, how = _by_lengths(judgements), "lengths"
    else:
        controlled, how = UNKNOWN, ""
    row = WinRate(
        model=judgements.model,
        n=len(judged),
        win_rate=100.0 * float(judged.mean()) if len(judged) else math.nan,
        standard_error=100.0 * float(judged.std(ddof=1)) / math.sqrt(len(judged)) if len(judged) > 1 else math.nan,
        length_controlled_winrate=controlled.rate,
        avg_length=float(judgements.lengths.mean()),
        lc_standard_error=controlled.stderr,
        wins=int((judged > 0.5).sum()),
        ties=int((judged == 0.5).sum()),
        missing=int(len(judgements.preferences) - len(judged)),
        baseline=judgements.baseline,
        judge=judgements.judge,
        length_control=how,
    )
    return row, controlled


def _by_lengths(judgements: Judgements) -> ControlledRate:
    difference = (judgements.lengths - judgements.baseline_lengths)[judgements.judged]
    rate, error = by_lengths(judgements.preferences[judgements.judged], difference)
    return ControlledRate(rate=rate, stderr=error)


def _notes(judgements: Judgements, row: WinRate, controlled: ControlledRate) -> list[str]:
    notes = []
    if row.missing:
        notes.append(
            f"{row.model}: {row.missing} of {len(judgements.preferences)} questions have no judgement; "
            "they count nowhere"
        )
    if row.n == 1:
        notes.append(f"{row.model}: one judged question, from which no standard error and no interval can be stated")
    if judgements.model == judgements.baseline and (judgements.preferences[judgements.judged] != 0.5).any():
        notes.append(
            f"{row.model}: called like its baseline, but its answers are others; alpaca-eval's length control gives 50 "
            "for that name, whatever was judged: name it apart"
        )
    if judgements.repeated:
        notes.append(f"{row.model}: {judgements.repeated} rows said the same as another and were left out")
    if row.length_control == "alpaca_eval" and judgements.baseline not in (BASELINE, judgements.model):
        notes.append(f"{row.model}: beside {judgements.baseline}, while length control's files are about {BASELINE}")
    if controlled.extreme:
        notes.append(f"{row.model}: length control changes much; alpaca-eval calls that a sign that it failed")
    return notes


def _whole(index: "np.ndarray") -> bool:
    return bool((index == np.arange(len(index))).all())


def _from_best(row: WinRate) -> tuple[float, str]:
    rate = row.win_rate if math.isnan(row.length_controlled_winrate) else row.length_controlled_winrate
    return (math.inf if math.isnan(rate) else -rate, row.model)


def _with_error(value: float, error: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if math.isnan(error) else f"{value:.2f} ± {error:.2f}"
