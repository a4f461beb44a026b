"""``bench evaluate --mt-bench``: a model's answers to 80 questions of two turns, graded 1 to 10 by judges."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench.cli.evaluate_options import Evaluation
from bench.errors import UsageError
from bench.evaluate.judges.annotate import cached_verdicts
from bench.evaluate.judges.base import Cost, Judge, Verdict, stored_fields
from bench.evaluate.judges.cache import key_of, read_verdict
from bench.evaluate.judges.factory import judges_of, tell_cost
from bench.evaluate.judges.mt_bench import (
    ANSWER_TOKENS,
    LEAST,
    MOST,
    TEMPERATURES,
    Dialogue,
    Question,
    grade_in,
    grade_prompts,
    questions,
    read_dialogues,
)
from bench.evaluate.judges.mt_bench_table import TurnGrade, csv_of, grade_rows, terminal_table
from bench.utils.console import say
from bench.utils.files import write_text_whole


def evaluate_mt_bench(request: Evaluation) -> None:
    """Print what grading costs, grade, and write grades.json and mt_bench.csv into ``request.destination``.

    A checkpoint answers at FastChat's temperatures by category, unless ``request.temperature`` is one for all.

    Raises:
        UsageError: files, judges or options that cannot be used, or a cost above ``max_cost``.
        RunError: a judge cannot be asked any more, or nothing can be written.
    """
    console = Console()
    judges = judges_of(request.judges)
    if mute := [judge.name for judge in judges if judge.grade is None]:
        raise UsageError(f"{mute[0]} gives no grades in words", fix="grades need a judge of kind lm or api")
    folder, cache = request.folder, request.verdicts
    dialogues = _dialogues(request, console=console)
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
        folder / "grades.json", json.dumps(list(map(stored_fields, graded)), ensure_ascii=False, indent=1) + "\n"
    )
    rows = grade_rows(graded)
    path = request.destination if request.destination.suffix == ".csv" else folder / "mt_bench.csv"
    write_text_whole(path, csv_of(rows))
    console.print(terminal_table(rows))
    for name, count in Counter(row.outcome for row in graded if row.grade is None).items():
        example = next(row for row in graded if row.grade is None and row.outcome == name)
        console.print(f"  {count} × {name}, e.g. {example.text[:160]}", highlight=False, markup=False)
    odd = [(row.question, row.grade) for row in graded if row.grade is not None and not LEAST <= row.grade <= MOST]
    if odd:
        console.print(
            f"  {len(odd)} grades are off the scale of {LEAST} to {MOST}, e.g. {odd[0][1]:g} for question {odd[0][0]}; "
            "they count, as in FastChat"
        )
    for written in (folder / "grades.json", path):
        say(console, f"  {written}")


def _dialogues(request: Evaluation, *, console: Console) -> list[Dialogue]:
    """Return the answers to grade, and report which are incomplete, before anything is asked.

    Raises:
        UsageError: there are none, or two of one name.
    """
    dialogues = [one for path in request.outputs for one in read_dialogues(path)]
    if request.checkpoint is not None:
        dialogues.append(_of_checkpoint(request, folder=request.folder))
    if not dialogues:
        raise UsageError("--mt-bench needs answers to grade", fix="--outputs FILE, or a checkpoint as first argument")
    names = [one.model for one in dialogues]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"answers of {twice[0]} come from two sources", fix='name them apart in the field "model_id"')
    every = len(questions())
    for one in dialogues:
        if len(one.answers) < every:
            console.print(
                f"  {one.model}: answers {len(one.answers)} of {every} questions: its score is not one of MT-Bench",
                highlight=False,
                markup=False,
            )
        if len(one.answers) == 1:
            console.print(f"  {one.model}: one question: its score will have no standard error", highlight=False)
    return dialogues


def grades_of(
    judge: Judge, dialogue: Dialogue, *, cache: Path | None, console: Console | None = None
) -> list[TurnGrade]:
    """Ask ``judge`` for a grade of each turn of ``dialogue``. Raises RunError: it cannot be asked any more."""
    assert judge.grade is not None
    turns = _turns(dialogue)
    verdicts: list[Verdict | None] = [None] * len(turns)
    with Progress(console=console, transient=True, disable=console is None or not console.is_terminal) as bar:
        task = bar.add_task(f"{judge.name} reads {dialogue.model}", total=len(turns))
        prompts = [grade_prompts(question, answers, turn=turn) for question, answers, turn in turns]
        for number, verdict in cached_verdicts(judge.grade, grades_key(judge), prompts, cache=cache):
            verdicts[number] = verdict
            bar.advance(task)
    return [
        _graded(judge, dialogue, question, turn, verdict)
        for (question, _, turn), verdict in zip(turns, verdicts, strict=True)
        if verdict is not None
    ]


def _graded(judge: Judge, dialogue: Dialogue, question: Question, turn: int, verdict: Verdict) -> TurnGrade:
    grade = grade_in(verdict.text) if verdict.outcome == "judged" else None
    outcome = "malformed" if verdict.outcome == "judged" and grade is None else verdict.outcome
    return TurnGrade(
        judge=judge.name,
        model=dialogue.model,
        question=question.number,
        category=question.category,
        turn=turn,
        grade=grade,
        outcome=outcome,
        text=verdict.text,
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
    prompts = {
        key_of(grades_key(judge), messages): messages
        for dialogue in dialogues
        for question, answers, turn in _turns(dialogue)
        for messages in [grade_prompts(question, answers, turn=turn)]
    }
    return judge.cost(
        [messages for key, messages in prompts.items() if read_verdict(cache, key) is None], judge.grade_limit
    )


def grades_key(judge: Judge) -> str:
    """Return what decides a judge's grades, by which they are kept."""
    return f"{judge.identity} grade {judge.grade_limit}"


def _of_checkpoint(request: Evaluation, *, folder: Path) -> Dialogue:
    from bench.evaluate.judges.generate import answer_text, name_of

    assert request.checkpoint is not None
    answers: dict[int, tuple[str, str]] = {}
    tokens = request.tokens or ANSWER_TOKENS
    for temperature, part in _by_temperature(request.temperature).items():
        first = answer_text(
            request.checkpoint, [[question.turns[0]] for question in part], results=request.results,
            tokens=tokens, temperature=temperature, seed=request.seed,
        )  # fmt: skip
        first = [answer.strip() for answer in first]  # as FastChat
        second = answer_text(
            request.checkpoint,
            [[question.turns[0], answer, question.turns[1]] for question, answer in zip(part, first, strict=True)],
            results=request.results, tokens=tokens, temperature=temperature, seed=request.seed + 1,
        )  # fmt: skip
        answers |= {
            question.number: (one, other.strip()) for question, one, other in zip(part, first, second, strict=True)
        }
    model = name_of(request.checkpoint)
    lines = [
        json.dumps({"question_id": number, "model_id": model, "turns": answers[number]}, ensure_ascii=False)
        for number in sorted(answers)
    ]
    write_text_whole(folder / "answers.jsonl", "\n".join(lines) + "\n")
    return Dialogue(model=model, answers=answers)


def _by_temperature(fixed: float | None) -> dict[float, list[Question]]:
    groups: dict[float, list[Question]] = {}
    for question in questions():
        groups.setdefault(TEMPERATURES.get(question.category, 0.0) if fixed is None else fixed, []).append(question)
    return groups
