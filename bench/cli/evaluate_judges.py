"""``bench evaluate --judge``: models' answers shown to judges beside a baseline's, to annotations and a table."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.cli.evaluate_judgements import length_control_of, tell_win_rates
from bench.cli.evaluate_options import Evaluation
from bench.cli.judges_correct import tell_corrected
from bench.errors import UsageError
from bench.evaluate.judges.annotate import (
    Annotation,
    annotate,
    as_records,
    judgements_of,
    outcomes,
    position_bias,
    to_ask,
    uncached,
)
from bench.evaluate.judges.answers import Answers, PairedAnswers, pair_answers, read_answers, some_of
from bench.evaluate.judges.base import AnswerPair, Cost, Judge, Verdict
from bench.evaluate.judges.checks import notes_on_answers, notes_on_length
from bench.evaluate.judges.correction import corrected_rates
from bench.evaluate.judges.factory import judges_of, tell_cost
from bench.evaluate.judges.judgements import Judgements
from bench.evaluate.judges.random_part import random_part
from bench.utils.console import say
from bench.utils.files import write_text_whole

HARDLY = 0.1
"""A judge whose two answers have less probability than this together hardly answers what it was asked."""


TEMPERATURE = 0.7
"""Of a checkpoint's answers, where none is requested."""
TOKENS = 512
"""Of a checkpoint's longest answer, where no other is requested."""


def evaluate_judges(request: Evaluation) -> None:
    """Print what asking costs, ask, and write annotations.json and the table of win rates into ``request.destination``.

    With ``request.strong``, corrected.csv too: the first judge's rates corrected by the strong one's of a random part.

    Raises:
        UsageError: files, judges or options that cannot be used, or a cost above ``max_cost``.
        RunError: a judge cannot be asked any more, or nothing can be written.
    """
    console = Console()
    control = length_control_of(request.difficulty, request.gamed)
    judges = judges_of([*request.judges, *([request.strong] if request.strong is not None else [])])
    pairs, notes = _pairs(request)
    assignments = _assignments(judges, pairs, request)
    notes += [
        note
        for judge, each in assignments
        for note in notes_on_length(judge, [pair for _, _, pair in _queries(judge, each, request)])
    ]
    for note in notes:
        console.print(f"  {note}", highlight=False, markup=False)
    tell_cost(
        [(judge, _costs(judge, [each for of, each in assignments if of is judge], request)) for judge in judges],
        console=console,
        max_cost=request.max_cost,
    )
    if request.dry_run:
        return
    annotated = [(judge, each, _judged(judge, each, request, console=console)) for judge, each in assignments]
    _write(annotated, request.folder / "annotations.json", console=console)
    strong = judges[-1] if request.strong is not None else None
    tell_win_rates(
        [_judgements(each) for each in annotated if each[0] is not strong],
        control=control,
        by_index=request.join == "index",
        lengths_alone=control is None,
        out=request.destination,
    )
    if strong is not None:
        cheap, dear = ([_judgements(each) for each in annotated if each[0] is judge] for judge in (judges[0], strong))
        tell_corrected(*corrected_rates(cheap, dear), path=request.folder / "corrected.csv")
    _tell_judges(judges, annotated, console=console)


def _assignments(
    judges: Sequence[Judge], pairs: Sequence[PairedAnswers], request: Evaluation
) -> list[tuple[Judge, PairedAnswers]]:
    """Return which judge is asked about what: all of it, the last one about a random part where it is the strong one.

    Raises:
        UsageError: a share that is none.
    """
    everything = judges if request.strong is None else judges[:-1]
    assignments = [(judge, each) for judge in everything for each in pairs]
    if request.strong is None:
        return assignments
    parts = [random_part(each.instructions, share=request.strong_share, seed=request.seed) for each in pairs]
    drawn = [(judges[-1], some_of(each, part.nonzero()[0])) for each, part in zip(pairs, parts, strict=True)]
    return assignments + drawn


def _judgements(annotated: tuple[Judge, PairedAnswers, list[Annotation]]) -> Judgements:
    judge, each, made = annotated
    return judgements_of(made, judge=judge.name, model=each.model, baseline=each.baseline)


def _judged(judge: Judge, each: PairedAnswers, request: Evaluation, *, console: Console) -> list[Annotation]:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{judge.name} reads {each.model}", total=None)
        return annotate(
            judge,
            each,
            both=request.both_orders,
            seed=request.seed,
            # scores are made again as fast as they are read
            cache=request.verdicts if judge.ordered else None,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _queries(judge: Judge, each: PairedAnswers, request: Evaluation) -> list[tuple[int, str, AnswerPair]]:
    return to_ask(judge, each, both=request.both_orders, seed=request.seed)


def _pairs(request: Evaluation) -> tuple[list[PairedAnswers], list[str]]:
    """Return every model's answers beside the baseline's, and what to know of them."""
    if request.baseline is None:
        raise UsageError("--judge needs the baseline's answers", fix="--baseline FILE (instruction, output)")
    references = read_answers(request.baseline, questions=request.questions)
    if len(references) != 1:
        raise UsageError(f"{request.baseline} has {len(references)} models; a baseline is one", fix="keep one of them")
    (baseline,) = references
    answers = [one for path in request.outputs for one in read_answers(path, questions=request.questions)]
    if request.checkpoint is not None:
        answers.append(_of_checkpoint(request, baseline))
    if not answers:
        raise UsageError("--judge needs answers to judge", fix="--outputs FILE, or a checkpoint as first argument")
    if len({one.model for one in answers}) < len(answers):
        raise UsageError("two files have answers of one model", fix='name them apart in the field "generator"')
    pairs = [pair_answers(one, baseline) for one in answers]
    notes = [note for one, each in zip(answers, pairs, strict=True) for note in notes_on_answers(one, baseline, each)]
    return pairs, notes


def _of_checkpoint(request: Evaluation, baseline: Answers) -> Answers:
    from bench.evaluate.judges.generate import answers_of, write_answers

    assert request.checkpoint is not None
    answers = answers_of(
        request.checkpoint,
        baseline,
        results=request.results,
        tokens=TOKENS if request.tokens is None else request.tokens,
        temperature=TEMPERATURE if request.temperature is None else request.temperature,
        seed=request.seed,
    )
    write_answers(request.folder / "outputs.json", answers)
    return answers


def _costs(judge: Judge, pairs: Sequence[PairedAnswers], request: Evaluation) -> Cost | None:
    if judge.cost is None or judge.prompt is None:
        return None
    wanted = [pair for each in pairs for _, _, pair in _queries(judge, each, request)]
    return judge.cost([judge.prompt(pair) for pair in uncached(judge, wanted, cache=request.verdicts)], judge.limit)


def _write(annotated: Sequence[tuple[Judge, PairedAnswers, list[Annotation]]], path: Path, *, console: Console) -> None:
    records = [
        record
        for judge, each, made in annotated
        for record in as_records(made, judge=judge.name, model=each.model, baseline=each.baseline)
    ]
    write_text_whole(path, json.dumps(records, ensure_ascii=False, indent=1) + "\n")
    say(console, f"  {path}")
    for model, left_out in dict.fromkeys((each.model, each.left_out) for _, each, _ in annotated):
        if left_out:
            console.print(f"  {model}: {left_out} answers have no partner and were left out")


def _tell_judges(
    judges: Sequence[Judge], annotated: Sequence[tuple[Judge, PairedAnswers, list[Annotation]]], *, console: Console
) -> None:
    """Print of each judge that sees an order: its position bias, what it would not say, and the tokens it took."""
    table = Table(title="how the judges judged", box=box.SIMPLE_HEAD)
    table.add_column("judge", overflow="fold")
    for name in ("first shown wins %", "turned with the order %", "refused", "malformed", "failed", "tokens"):
        table.add_column(name, justify="right")
    notes = []
    for judge in judges:
        made = [one for of, _, annotations in annotated if of is judge for one in annotations]
        bias, count = position_bias(made), outcomes(made)
        verdicts = [verdict for one in made for verdict in one.verdicts.values()]
        tokens = sum(verdict.prompt_tokens + verdict.completion_tokens for verdict in verdicts)
        table.add_row(
            judge.name,
            f"{bias.first:.1f} ± {bias.stderr:.1f}" if judge.ordered and bias.n > 1 else "–",
            f"{100 * bias.turned:.0f}" if bias.turned == bias.turned else "–",
            *(str(count[name]) for name in ("refused", "malformed", "failed")),
            f"{tokens:,}" if tokens else "–",
        )
        hard = [verdict for verdict in verdicts if judge.soft and verdict.outcome == "judged" and verdict.mass is None]
        if hard:
            notes.append(
                f"{judge.name}: {len(hard)} of {len(verdicts)} verdicts are its words, 1 or 0: the server sent no "
                "probabilities, or no token among the likeliest carries either answer"
            )
        masses = [verdict.mass for verdict in verdicts if verdict.mass is not None]
        if masses and sum(masses) / len(masses) < HARDLY:
            notes.append(
                f"{judge.name}: its two answers have probability {sum(masses) / len(masses):.3f} together: it hardly "
                "answers what it is asked, and its preferences mean little"
            )
        notes += [f"{judge.name}: e.g. {verdict.outcome}: {verdict.text[:160]}" for verdict in _odd(verdicts)]
    console.print(table)
    for note in notes:
        console.print(f"  {note}", highlight=False, markup=False)


def _odd(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the first verdict of each kind that is none."""
    first: dict[str, Verdict] = {}
    for verdict in verdicts:
        if verdict.outcome != "judged":
            first.setdefault(verdict.outcome, verdict)
    return list(first.values())
