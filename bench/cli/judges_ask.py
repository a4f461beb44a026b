"""``bench judges retest`` and ``bench judges agree``: judges asked again, and compared with people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from bench.cli.evaluate_judgements import unique_names
from bench.cli.evaluate_options import Evaluation
from bench.errors import UsageError
from bench.evaluate.judges.agreement import verdict_agreements
from bench.evaluate.judges.annotate import annotate, judgements_of, to_ask, uncached
from bench.evaluate.judges.answers import PairedAnswers, pair_answers, read_answers, some_of
from bench.evaluate.judges.base import AnswerPair, Cost, Judge
from bench.evaluate.judges.csv_text import csv_text
from bench.evaluate.judges.factory import judges_of, tell_cost
from bench.evaluate.judges.judgements import Judgements, read_judgements
from bench.evaluate.judges.random_part import random_part
from bench.evaluate.judges.retest import Retest, retest, retest_queries
from bench.evaluate.judges.votes import mean_vote, pairs_to_ask
from bench.stats.verdict_agreement import FEWEST, Bounded, VerdictAgreement
from bench.utils.console import say
from bench.utils.files import write_text_whole
from bench.utils.process import quiet_libraries


def retest_command(request: Evaluation, *, share: float) -> None:
    """Print what asking costs, ask each judge three times, and print and write how often it repeats itself.

    Raises:
        UsageError: no judge, files that cannot be used, a share that is none, or a cost above ``max_cost``.
        RunError: a judge cannot be asked any more, or nothing can be written.
    """
    quiet_libraries()
    console = Console()
    judges = _judges(request)
    pairs = [_part(each, share=share, seed=request.seed) for each in _pairs(request)]
    queries = [(judge, [query for each in pairs for query in retest_queries(judge, each, seed=request.seed)])
               for judge in judges]  # fmt: skip
    costs = [(judge, _cost(wanted, cache=request.verdicts)) for judge, wanted in queries]
    tell_cost(costs, console=console, max_cost=request.max_cost)
    if request.dry_run:
        return
    results = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        for judge in judges:
            for each in pairs:
                task = bar.add_task(f"{judge.name} reads {each.model} again", total=None)
                moved = partial(_moved, bar, task)
                results.append(retest(judge, each, seed=request.seed, cache=request.verdicts, progress=moved))
    console.print(_retest_table(results))
    path = request.folder / "retest.csv"
    rows = [_retest_row(each) for each in results]
    write_text_whole(path, csv_text(rows, columns=list(rows[0])))
    say(console, f"  {path}")


def agree_command(votes: Path, request: Evaluation) -> None:
    """Print and write how far people and judges agree on the pairs of ``votes``, after asking the judges.

    Raises:
        UsageError: nobody to compare, files that cannot be used, or a cost above ``max_cost``.
        RunError: a judge cannot be asked any more, or nothing can be written.
    """
    quiet_libraries()
    console = Console()
    people = read_judgements(votes)
    persons = {each.judge for each in people}
    if not request.judges and not request.judgements and len(persons) < 2:
        raise UsageError(
            f"{votes} has the votes of {next(iter(persons))} alone, and there is nobody to compare with",
            fix="--judge, --judgements FILE, or a column annotator with two people or more",
        )
    judges = _judges(request) if request.judges else []
    pairs = pairs_to_ask(votes) if judges else []
    costs = [
        (judge, _cost([(judge, pair) for each in pairs for _, _, pair in _queries(judge, each, request)],
                      cache=request.verdicts))
        for judge in judges
    ]  # fmt: skip
    tell_cost(costs, console=console, max_cost=request.max_cost)
    if request.dry_run:
        return
    judged = [_judged_pairs(judge, each, request) for judge in judges for each in pairs]
    judged += unique_names(request.judgements) if request.judgements else []
    if double := {each.judge for each in judged} & persons:
        raise UsageError(f"a judge and a person are both called {min(double)!r}", fix="name one of them otherwise")
    everyone = [*judged, *mean_vote(people), *people]
    results = verdict_agreements(everyone)
    if not results:
        raise UsageError(
            f"{votes}: no pair of it was judged by two of {', '.join(dict.fromkeys(each.judge for each in everyone))}",
            fix="the same models, and the same instruction or index, in all files",
        )
    console.print(_agreement_table(results))
    path = request.folder / "agreement.csv"
    rows = [{"first": one, "second": other} | _agreement_row(each) for one, other, each in results]
    write_text_whole(path, csv_text(rows, columns=list(rows[0])))
    say(console, f"  {path}")


def _moved(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def _judges(request: Evaluation) -> list[Judge]:
    if not request.judges:
        raise UsageError("there is no judge to test", fix="--judge lm:FOLDER, or another one")
    return judges_of(request.judges)


def _pairs(request: Evaluation) -> list[PairedAnswers]:
    assert request.baseline is not None
    references = read_answers(request.baseline, questions=request.questions)
    if len(references) != 1:
        raise UsageError(f"{request.baseline} has {len(references)} models; a baseline is one", fix="keep one of them")
    answers = [one for path in request.outputs for one in read_answers(path, questions=request.questions)]
    return [pair_answers(one, references[0]) for one in answers]


def _part(pairs: PairedAnswers, *, share: float, seed: int) -> PairedAnswers:
    part = random_part(pairs.instructions, share=share, seed=seed)
    return some_of(pairs, part.nonzero()[0])


def _queries(judge: Judge, pairs: PairedAnswers, request: Evaluation) -> list[tuple[int, str, AnswerPair]]:
    return to_ask(judge, pairs, both=request.both_orders, seed=request.seed)


def _cost(queries: Sequence[tuple[Judge, AnswerPair]], *, cache: Path) -> Cost | None:
    """Return what asking would cost, verdicts in the cache left out; None of a judge that is free."""
    judge = queries[0][0] if queries else None
    if judge is None or judge.cost is None or judge.prompt is None:
        return None
    by_identity: dict[str, tuple[Judge, list[AnswerPair]]] = {}
    for as_judge, pair in queries:
        by_identity.setdefault(as_judge.identity, (as_judge, []))[1].append(pair)
    new = [pair for as_judge, wanted in by_identity.values() for pair in uncached(as_judge, wanted, cache=cache)]
    return judge.cost([judge.prompt(pair) for pair in new], judge.limit)


def _judged_pairs(judge: Judge, pairs: PairedAnswers, request: Evaluation) -> Judgements:
    cache = request.verdicts if judge.ordered else None
    made = annotate(judge, pairs, both=request.both_orders, seed=request.seed, cache=cache)
    judgements = judgements_of(made, judge=judge.name, model=pairs.model, baseline=pairs.baseline)
    # the file's rows have no numbers of their own, so that texts tell the questions apart
    return judgements if judgements.instructions is None else replace(judgements, index=None)


def _retest_table(results: Sequence[Retest]) -> Table:
    table = Table(title="does a judge repeat itself?", box=box.SIMPLE_HEAD)
    for name in ("judge", "model"):
        table.add_column(name, overflow="fold")
    for name in ("questions", "same winner again %", "κ again", "same winner swapped %", "κ swapped", "first wins %"):
        table.add_column(name, justify="right")
    for each in results:
        bias = f"{each.bias.first:.1f} ± {each.bias.stderr:.1f}" if each.bias.n > 1 else "–"
        table.add_row(
            each.judge,
            each.model,
            str(each.questions),
            _percent(each.again.same),
            _share(each.again.kappa),
            _percent(each.swapped.same),
            _share(each.swapped.kappa),
            bias,
        )
    return table


def _retest_row(each: Retest) -> dict[str, str | float]:
    row: dict[str, str | float] = {"judge": each.judge, "model": each.model, "questions": each.questions}
    for name, agreement in (("again", each.again), ("swapped", each.swapped)):
        row |= {f"{name}_{key}": value for key, value in _agreement_row(agreement).items()}
    return row | {
        "again_shift": each.again_shift,
        "swapped_shift": each.swapped_shift,
        "first_wins": each.bias.first,
        "first_wins_stderr": each.bias.stderr,
    }


def _agreement_table(results: Sequence[tuple[str, str, VerdictAgreement]]) -> Table:
    table = Table(title="who agrees with whom? (95 % intervals)", box=box.SIMPLE_HEAD)
    for name in ("judge", "and"):
        table.add_column(name, overflow="fold")
    for name in ("same side %", "of", "Cohen κ, ties too", "of", "Kendall τ-b"):
        table.add_column(name, justify="right")
    for one, other, each in results:
        table.add_row(
            one, other, _percent(each.same), str(each.decided), _share(each.kappa), str(each.n), _share(each.tau)
        )
    if any(each.n < FEWEST for _, _, each in results):
        table.caption = (
            f"–: Kendall τ-b needs {FEWEST} pairs that both judged: with fewer, judges who have nothing in common "
            "agree by luck"
        )
    return table


def _agreement_row(agreement: VerdictAgreement) -> dict[str, float]:
    row: dict[str, float] = {"pairs": agreement.n, "decided": agreement.decided}
    values: Mapping[str, Mapping[str, float]] = {
        name: asdict(getattr(agreement, name)) for name in ("same", "alike", "kappa", "tau")
    }
    for name, bounded in values.items():
        row |= {name: bounded["value"], f"{name}_low": bounded["low"], f"{name}_high": bounded["high"]}
    return row


def _percent(bounded: Bounded) -> str:
    return _text(bounded, scale=100.0, digits=0)


def _share(bounded: Bounded) -> str:
    return _text(bounded, scale=1.0, digits=2)


def _text(bounded: Bounded, *, scale: float, digits: int) -> str:
    if bounded.value != bounded.value:
        return "–"
    value, low, high = (f"{scale * each:.{digits}f}" for each in (bounded.value, bounded.low, bounded.high))
    return value if bounded.low != bounded.low else f"{value} ({low} to {high})"
