"""The table of grades: one row each judge and model, as values, as CSV and as it is printed."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from bench.evaluate.judges.mt_bench import questions


@dataclass(frozen=True, kw_only=True)
class Graded:
    """One turn graded: 1 to 10, or None with the judge's words as they were."""

    judge: str
    model: str
    question: int
    category: str
    turn: int
    grade: float | None
    outcome: str
    text: str


def grade_rows(graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """Return one row each judge and model: mean grade with its standard error over questions, by turn, by category.

    A question's grade is the mean of its graded turns: two turns of one question are no two independent grades.
    """
    categories = list(dict.fromkeys(question.category for question in questions()))
    rows = []
    for judge, model in dict.fromkeys((row.judge, row.model) for row in graded):
        mine = [row for row in graded if (row.judge, row.model) == (judge, model)]
        whole = _by_question(mine)
        row: dict[str, Any] = {
            "model": model,
            "judge": judge,
            "n": sum(one.grade is not None for one in mine),
            "missing": sum(one.grade is None for one in mine),
            "score": float(np.mean(whole)) if whole else math.nan,
            "standard_error": float(np.std(whole, ddof=1)) / math.sqrt(len(whole)) if len(whole) > 1 else math.nan,
        }
        for turn in (1, 2):
            row[f"turn_{turn}"] = _mean([one.grade for one in mine if one.turn == turn])
        rows.append(row | {name: _mean([one.grade for one in mine if one.category == name]) for name in categories})
    return sorted(
        rows, key=lambda row: (row["judge"], -row["score"] if row["score"] == row["score"] else 0.0, row["model"])
    )


def grade_records(graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """Return grades as they are stored in ``grades.json``: the judge's words under ``said``."""
    names = {"text": "said"}
    return [{names.get(field, field): value for field, value in asdict(one).items()} for one in graded]


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV, with every digit; NaN is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue()


def printed(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(title="MT-Bench", box=box.SIMPLE_HEAD)
    for name in ("judge", "model"):
        table.add_column(name, overflow="fold")
    for name in ("score", "turn 1", "turn 2", "grades", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["judge"],
            row["model"],
            f"{row['score']:.2f} ± {row['standard_error']:.2f}",
            f"{row['turn_1']:.2f}",
            f"{row['turn_2']:.2f}",
            str(row["n"]),
            str(row["missing"]),
        )
    return table


def _by_question(rows: Sequence[Graded]) -> list[float]:
    by_question: dict[int, list[float]] = {}
    for row in rows:
        if row.grade is not None:
            by_question.setdefault(row.question, []).append(row.grade)
    return [float(np.mean(grades)) for grades in by_question.values()]


def _mean(grades: Sequence[float | None]) -> float:
    known = [grade for grade in grades if grade is not None]
    return float(np.mean(known)) if known else math.nan
