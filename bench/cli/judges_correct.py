"""``bench judges draw`` and ``bench judges correct``: a part for a strong judge, and the rates that come of it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from bench.evaluate.judges.correction import (
    CorrectedGap,
    CorrectedRate,
    corrected_rates,
    csv_of,
    planning_text,
    terminal_tables,
)
from bench.evaluate.judges.judgements import read_judgements
from bench.evaluate.judges.votes import draw_questions
from bench.utils.console import say
from bench.utils.files import write_text_whole


def draw_command(judgements: Path, *, out: Path, share: float, seed: int, judge: str) -> None:
    """Write the random part and say how to go on. Raises UsageError: no such file or share, or ``out`` exists."""
    if out.exists():
        raise UsageError(f"{out} exists: it may have judgements in it", fix="give another --out")
    drawn, questions = draw_questions(judgements, out, share=share, seed=seed, judge=judge)
    console = Console()
    say(console, f"  {out}: {drawn} of {questions} questions (seed {seed})")
    say(
        console,
        f"  fill in preference (1 first answer, 2 second, 1.5 tie), then: bench judges correct {judgements} {out}",
    )


def correct_command(cheap: Path, strong: Path, *, half: float | None, out: Path) -> None:
    """Print and write corrected win rates.

    Raises:
        UsageError: files that cannot be used or do not belong together, or a width that is none.
        RunError: the table cannot be written.
    """
    if half is not None and not half > 0:
        raise UsageError(f"--half-width must be above 0 percent points (got {half:g})", fix="for example 3")
    if cheap.resolve() == strong.resolve():
        raise UsageError(f"{cheap} is both the cheap and the strong side", fix="give two files")
    rows, gaps, notes = corrected_rates(read_judgements(cheap), read_judgements(strong), half=half)
    tell_corrected(rows, gaps, notes, half=half, path=out if out.suffix == ".csv" else out / "corrected.csv")


def tell_corrected(
    rows: Sequence[CorrectedRate],
    gaps: Sequence[CorrectedGap],
    notes: Sequence[str],
    *,
    half: float | None = None,
    path: Path,
) -> None:
    """Print corrected rates, what they are worth and what to know, and write them to ``path``."""
    console = Console()
    write_text_whole(path, csv_of(rows))
    for table in terminal_tables(rows, gaps):
        console.print(table)
    lines = [*([planning_text(row, half=half) for row in rows] if half is not None else []), *notes]
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False)
    say(console, f"  {path}")
