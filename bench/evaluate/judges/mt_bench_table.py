"""Table of MT-Bench grades, one row for each judge and model: values, CSV, terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

from bench.evaluate.judges.csv_text import csv_text
from bench.evaluate.judges.mt_bench import questions


@dataclass(frozen=True, kw_only=True)
class TurnGrade:
    """One turn graded, on the scale 1 to 10 that is asked for, or None with the judge's words as they were."""

    judge: str
    model: str
    question: int
    category: str
    turn: int
    grade: float | None
    outcome: str
    text: str


@dataclass(frozen=True, kw_only=True)
class GradeRow:
    """Mean grades of one model by one judge; NaN where a number has no grades.

    ``n``, ``missing``: turns with and without a grade. ``turns``: the mean grades of turns 1 and 2. ``categories``: the
    mean grade by category.
    """

    model: str
    judge: str
    n: int
    missing: int
    score: float
    standard_error: float
    turns: tuple[float, float]
    categories: Mapping[str, float]

    def columns(self) -> dict[str, str | float]:
        """Return the row's values by column of the CSV file."""
        return {
            "model": self.model,
            "judge": self.judge,
            "n": self.n,
            "missing": self.missing,
            "score": self.score,
            "standard_error": self.standard_error,
            "turn_1": self.turns[0],
            "turn_2": self.turns[1],
            **self.categories,
        }


def grade_rows(graded: Sequence[TurnGrade]) -> list[GradeRow]:
    """Return one row each judge and model: mean grade with its standard error over questions, by turn, by category.

    The mean is that of all graded turns, as FastChat's. Its error is over questions, each with the mean of its graded
    turns: two turns of one question are no two independent grades.
    """
    categories = list(dict.fromkeys(question.category for question in questions()))
    rows = []
    for judge, model in dict.fromkeys((row.judge, row.model) for row in graded):
        mine = [row for row in graded if (row.judge, row.model) == (judge, model)]
        whole = _by_question(mine)
        first, second = (_mean([one.grade for one in mine if one.turn == turn]) for turn in (1, 2))
        row = GradeRow(
            model=model,
            judge=judge,
            n=sum(one.grade is not None for one in mine),
            missing=sum(one.grade is None for one in mine),
            score=_mean([one.grade for one in mine]),
            standard_error=float(np.std(whole, ddof=1)) / math.sqrt(len(whole)) if len(whole) > 1 else math.nan,
            turns=(first, second),
            categories={name: _mean([one.grade for one in mine if one.category == name]) for name in categories},
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (row.judge, 0.0 if math.isnan(row.score) else -row.score, row.model))


def csv_of(rows: Sequence[GradeRow]) -> str:
    """Return the rows as CSV, with every digit; NaN is empty. There must be a row."""
    return csv_text([row.columns() for row in rows], columns=list(rows[0].columns()))


def terminal_table(rows: Sequence[GradeRow]) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(title="MT-Bench", box=box.SIMPLE_HEAD)
    for name in ("judge", "model"):
        table.add_column(name, overflow="fold")
    for name in ("score", "turn 1", "turn 2", "grades", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.judge,
            row.model,
            f"{row.score:.2f}" + ("" if math.isnan(row.standard_error) else f" ± {row.standard_error:.2f}"),
            *(f"{grade:.2f}" for grade in row.turns),
            str(row.n),
            str(row.missing),
        )
    return table


def _by_question(rows: Sequence[TurnGrade]) -> list[float]:
    by_question: dict[int, list[float]] = {}
    for row in rows:
        if row.grade is not None:
            by_question.setdefault(row.question, []).append(row.grade)
    return [float(np.mean(grades)) for grades in by_question.values()]


def _mean(grades: Sequence[float | None]) -> float:
    known = [grade for grade in grades if grade is not None]
    return float(np.mean(known)) if known else math.nan
