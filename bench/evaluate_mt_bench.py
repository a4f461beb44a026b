"""Owns ``bench evaluate --mt-bench``: a model's answers to 80 questions of two turns, graded 1 to 10 by judges."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.errors import UsageError
from bench.evaluate_judges import judges_of, tell_cost
from bench.judges.annotate import remembered
from bench.judges.cache import kept, key_of
from bench.judges.mt_bench import TEMPERATURES, TOKENS, Dialogue, Question, asked, grade_in, questions, read_dialogues
from bench.judges.verdict import Cost, Judge, Verdict
from bench.report.whole import write_text_whole


@dataclass(frozen=True, kw_only=True)
class GradeRequest:
    """What ``bench evaluate --mt-bench`` was given. ``temperature`` and ``tokens`` are those of a checkpoint's answers;
    temperatures follow FastChat's by category where ``temperature`` is None."""

    judges: tuple[str, ...]
    outputs: tuple[Path, ...] = ()
    checkpoint: str | None = None
    tokens: int = 512
    temperature: float | None = None
    seed: int = 0
    cache: Path | None = None
    dry_run: bool = False
    max_cost: float | None = None
    results: Path = Path("results")
    out: Path = Path("results")


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
    said: str


def evaluate_mt_bench(request: GradeRequest) -> None:
    """Print what grading costs, grade, and write grades.json and mt_bench.csv into ``request.out``.

    Raises:
        UsageError: files, judges or options that cannot be used, or a cost above ``max_cost``.
        RunError: a judge cannot be asked any more, or nothing can be written.
    """
    console = Console()
    judges = judges_of(request.judges)
    if mute := [judge.name for judge in judges if judge.grade is None]:
        raise UsageError(f"{mute[0]} gives no grades in words", fix="grades need a judge of kind lm or api")
    folder = request.out.parent if request.out.suffix == ".csv" else request.out
    cache = request.cache or folder / "verdicts"
    dialogues = [one for path in request.outputs for one in read_dialogues(path)]
    if request.checkpoint is not None:
        dialogues.append(_of_checkpoint(request, folder=folder))
    if not dialogues:
        raise UsageError("--mt-bench needs answers to grade", fix="--outputs FILE, or a checkpoint as first argument")
    tell_cost(
        [(judge, _cost(judge, dialogues, cache=cache)) for judge in judges], console=console, max_cost=request.max_cost
    )
    if request.dry_run:
        return
    graded = [
        row
        for judge in judges
        for dialogue in dialogues
        for row in grades_of(judge, dialogue, cache=cache, console=console)
    ]
    write_text_whole(
        folder / "grades.json", json.dumps([vars(row) for row in graded], ensure_ascii=False, indent=1) + "\n"
    )
    rows = grade_rows(graded)
    path = request.out if request.out.suffix == ".csv" else folder / "mt_bench.csv"
    write_text_whole(path, _csv(rows))
    console.print(_printed(rows))
    for name, count in Counter(row.outcome for row in graded if row.grade is None).items():
        example = next(row for row in graded if row.grade is None and row.outcome == name)
        console.print(f"  {count} × {name}, e.g. {example.said[:160]}", highlight=False, markup=False)
    for written in (folder / "grades.json", path):
        console.print(f"  {written}", highlight=False, markup=False, soft_wrap=True)


def grades_of(judge: Judge, dialogue: Dialogue, *, cache: Path | None, console: Console | None = None) -> list[Graded]:
    """Ask ``judge`` for a grade of each turn of ``dialogue``. Raises RunError: it cannot be asked any more."""
    assert judge.grade is not None
    turns = _turns(dialogue)
    verdicts: list[Verdict | None] = [None] * len(turns)
    with Progress(console=console, transient=True, disable=console is None or not console.is_terminal) as bar:
        task = bar.add_task(f"{judge.name} reads {dialogue.model}", total=len(turns))
        shown = [asked(question, answers, turn=turn) for question, answers, turn in turns]
        for number, verdict in remembered(judge.grade, f"{judge.identity} grade", shown, cache=cache):
            verdicts[number] = verdict
            bar.advance(task)
    return [
        _graded(judge, dialogue, question, turn, verdict)
        for (question, _, turn), verdict in zip(turns, verdicts, strict=True)
        if verdict is not None
    ]


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


def _graded(judge: Judge, dialogue: Dialogue, question: Question, turn: int, verdict: Verdict) -> Graded:
    grade = grade_in(verdict.said) if verdict.outcome == "judged" or not verdict.outcome else None
    outcome = "malformed" if verdict.outcome == "judged" and grade is None else verdict.outcome
    return Graded(
        judge=judge.name,
        model=dialogue.model,
        question=question.number,
        category=question.category,
        turn=turn,
        grade=grade,
        outcome=outcome,
        said=verdict.said,
    )


def _turns(dialogue: Dialogue) -> list[tuple[Question, tuple[str, str], int]]:
    return [
        (question, dialogue.answers[question.number], turn)
        for question in questions()
        if question.number in dialogue.answers
        for turn in (1, 2)
    ]


def _cost(judge: Judge, dialogues: Sequence[Dialogue], *, cache: Path) -> Cost | None:
    if judge.cost is None:
        return None
    shown = {
        key_of(f"{judge.identity} grade", messages): messages
        for dialogue in dialogues
        for question, answers, turn in _turns(dialogue)
        for messages in [asked(question, answers, turn=turn)]
    }
    return judge.cost([messages for key, messages in shown.items() if kept(cache, key) is None], TOKENS)


def _of_checkpoint(request: GradeRequest, *, folder: Path) -> Dialogue:
    from bench.judges.outputs import name_of, said

    assert request.checkpoint is not None
    answers: dict[int, tuple[str, str]] = {}
    for temperature, part in _by_temperature(request.temperature).items():
        first = said(
            request.checkpoint, [[question.turns[0]] for question in part], results=request.results,
            tokens=request.tokens, temperature=temperature, seed=request.seed,
        )  # fmt: skip
        second = said(
            request.checkpoint,
            [[question.turns[0], answer, question.turns[1]] for question, answer in zip(part, first, strict=True)],
            results=request.results, tokens=request.tokens, temperature=temperature, seed=request.seed + 1,
        )  # fmt: skip
        answers |= {question.number: turns for question, *turns in zip(part, first, second, strict=True)}  # type: ignore[misc]
    model = name_of(request.checkpoint)
    lines = [
        json.dumps({"question_id": number, "model_id": model, "turns": answers[number]}, ensure_ascii=False)
        for number in sorted(answers)
    ]
    write_text_whole(folder / "answers.jsonl", "\n".join(lines) + "\n")
    return Dialogue(model=model, answers=answers)


def _by_temperature(given: float | None) -> dict[float, list[Question]]:
    groups: dict[float, list[Question]] = {}
    for question in questions():
        groups.setdefault(TEMPERATURES.get(question.category, 0.0) if given is None else given, []).append(question)
    return groups


def _by_question(rows: Sequence[Graded]) -> list[float]:
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.grade is not None:
            found.setdefault(row.question, []).append(row.grade)
    return [float(np.mean(grades)) for grades in found.values()]


def _mean(grades: Sequence[float | None]) -> float:
    known = [grade for grade in grades if grade is not None]
    return float(np.mean(known)) if known else math.nan


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue()


def _printed(rows: Sequence[Mapping[str, Any]]) -> Table:
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
