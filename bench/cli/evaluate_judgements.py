"""``bench evaluate --judgements``: stored judgements to a table of win rates, and the judges' agreement."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.errors import UsageError
from bench.evaluate.judges.agreement import Agreement, agreements
from bench.evaluate.judges.judgements import Judgements, read_judgements
from bench.evaluate.judges.length_control import LengthControl, read_length_control
from bench.evaluate.judges.win_rate_table import csv_of, terminal_tables, win_rates
from bench.stats.concordance import FEWEST
from bench.utils.console import say
from bench.utils.files import write_text_whole


def evaluate_judgements(
    paths: Sequence[Path], *, difficulty: Path | None, gamed: Path | None, by_index: bool, out: Path
) -> None:
    """Read stored judgements, print win rates and agreement, and write the table to ``out`` (a folder: judgements.csv).

    Raises:
        UsageError: a file that cannot be used, or one file of length control without the other.
        RunError: the table cannot be written.
    """
    control = length_control_of(difficulty, gamed)
    tell_win_rates(unique_names(paths), control=control, by_index=by_index, out=out)


def length_control_of(difficulty: Path | None, gamed: Path | None) -> LengthControl | None:
    """Return what both files hold, None without them. Raises UsageError: one without the other, or unusable."""
    if difficulty is None and gamed is None:
        return None
    if difficulty is None or gamed is None:
        raise UsageError(
            f"length control needs two files; {'--gamed' if gamed is None else '--difficulty'} is absent",
            fix="--difficulty instruction_difficulty.csv --gamed df_gamed.csv (from alpaca-eval's data set)",
        )
    return read_length_control(difficulty, gamed)


def unique_names(paths: Sequence[Path]) -> list[Judgements]:
    """Read all files. Raises UsageError: a file that cannot be used, or one given twice.

    One judge and model in two files is two judges: each is called by its file.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("--judgements names a file twice", fix="name each once")
    read = [(path, one) for path in paths for one in read_judgements(path)]
    count = Counter((one.judge, one.model) for _, one in read)
    double = {judge for (judge, _), times in count.items() if times > 1}
    alike = len({path.name for path in paths}) < len(paths)
    return [
        replace(one, judge=f"{one.judge} ({path if alike else path.name})") if one.judge in double else one
        for path, one in read
    ]


def tell_win_rates(
    judgements: Sequence[Judgements],
    *,
    control: LengthControl | None,
    by_index: bool = False,
    lengths_alone: bool = False,
    out: Path,
) -> None:
    """Print and write the table of win rates; of several judges, print how far they agree. Raises as ``win_rates``."""
    console = Console()
    rows, notes = win_rates(judgements, control=control, by_index=by_index, lengths_alone=lengths_alone)
    path = out if out.suffix == ".csv" else out / "judgements.csv"
    write_text_whole(path, csv_of(rows))
    for table in terminal_tables(rows):
        console.print(table)
    for note in notes:
        console.print(f"  {note}", highlight=False, markup=False)
    if pairs := agreements(judgements):
        console.print(_agreement_table(pairs))
    say(console, f"  {path}")


def _agreement_table(rows: Sequence[Agreement]) -> Table:
    from rich import box

    table = Table(title="do the judges agree?", box=box.SIMPLE_HEAD)
    for name in ("judge", "and"):
        table.add_column(name, overflow="fold")
    for name in ("models", "Kendall τ", "95 %", "same side", "of"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.first,
            row.second,
            str(row.models),
            _number(row.tau),
            "–" if math.isnan(row.low) else f"{_number(row.low)} to {_number(row.high)}",
            _number(row.same),
            str(row.shared),
        )
    if any(math.isnan(row.tau) for row in rows):
        table.caption = (
            f"–: no order to agree on. Kendall τ needs {FEWEST} models that both judged, not all alike: with fewer, "
            "judges who have nothing in common agree by luck"
        )
    return table


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"
