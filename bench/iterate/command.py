"""Owns ``bench iterate``: what was asked for, checked whole; loops run one after another; table, CSV and figure."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.errors import RunError, UsageError
from bench.heap import loading
from bench.iterate.spec import FOLDER, SELF
from bench.logs import command_log
from bench.quiet import quiet_libraries

if TYPE_CHECKING:
    from bench.iterate.judging import Judging
    from bench.iterate.round import Loop
    from bench.plan import Plan


@dataclass(frozen=True, kw_only=True)
class IterateRequest:
    """One ``bench iterate``, as typed. ``prompts`` and ``temperature``: None for the defaults."""

    losses: tuple[str, ...]
    suite: str
    model: str | None
    data: tuple[Path, ...] | None
    settings: tuple[str, ...]
    rounds: int
    samples: int
    temperature: float | None
    prompts: int | None
    fresh: bool
    judge: str
    judgements: int
    both_orders: bool
    pairs: str
    reference: str
    seeds: int
    max_cost: float | None
    dry_run: bool
    results: Path


def iterate_command(request: IterateRequest) -> None:
    """Run every loss for every seed, each for all its rounds, doing only what is missing.

    Raises:
        UsageError: what was asked for cannot be right. RunError: loops that could not go on, after all others.
        KeyboardInterrupt: a stop was asked for; the same command goes on.
    """
    quiet_libraries()
    console = Console()
    with loading():
        from bench.commands import writable
        from bench.matmul import take_fastest_route

        writable(request.results)
        note = partial(console.print, highlight=False, markup=False, soft_wrap=True)
        plan, loops, judging = _prepared(request, console, note)
        take_fastest_route()
    _tell_plan(request, loops, judging, note)
    if request.dry_run:
        return
    with command_log(request.results, "iterate", arguments=sys.argv[1:], make=True):
        failures = _run_all(request, plan, loops, judging, console)
        _report(request.results, console)
    if failures:
        raise RunError(
            f"{len(failures)} of {len(loops)} loops could not go on; {failures[0]}",
            fix="mend the cause; the same command does only what is missing",
        )


def _prepared(
    request: IterateRequest, console: Console, note: Callable[[str], None]
) -> tuple["Plan", list["Loop"], "Judging"]:
    from bench.iterate.judging import Judging, judge_named
    from bench.iterate.pairs import check_which
    from bench.iterate.prompts import fitting, prompts_a_round, training_prompts
    from bench.iterate.round import Loop
    from bench.iterate.self_judge import SelfJudging
    from bench.plan import make_plan

    check_which(request.pairs)
    plan = make_plan(_as_run(request), note=note)
    workspace = plan.workspace
    _check(request, plan)
    judging = Judging(
        given=request.judge,
        judge=judge_named(request.judge),
        judging=SelfJudging(judgements=request.judgements),
        both_orders=request.both_orders,
        seed=0,
        cache=request.results / FOLDER / "verdicts",
        max_cost=request.max_cost,
        left=lambda: 0,
        console=console,
    )
    first = replace(workspace, results=request.results / FOLDER / "start")
    tokens = workspace.evaluation.tokens
    every = training_prompts(workspace)
    prompts = fitting(every, tokens=tokens, max_length=workspace.train.max_length)
    if len(prompts) < len(every):
        note(f"{len(every) - len(prompts)} prompts are too long for a completion of {tokens} tokens and are left out")
    count = prompts_a_round(
        len(prompts),
        asked=request.prompts,
        rounds=request.rounds,
        fresh=request.fresh,
        needed=workspace.train.steps * workspace.train.batch,
    )
    loops = []
    for seed in range(request.seeds):
        for search in plan.searches:
            spec = _spec(request, plan, search.spec(workspace, {}, seed=seed), judging, count=count, tokens=tokens)
            loops.append(
                Loop(
                    spec=spec,
                    objective=search.objective,
                    learning_rate=workspace.train.learning_rate,
                    first=first,
                    folder=request.results / FOLDER / spec.key,
                    prompts=tuple(prompts),
                    tuning=plan.protocol.model_copy(
                        update={"preset": "iterate", "pairs": None, "seeds": (0,), "final_seeds": (), "trials": 1}
                    ),
                    files=plan.request.loss_files,
                )
            )
    return plan, loops, judging


def _as_run(request: IterateRequest) -> Any:
    from bench.request import Request

    return Request(
        losses=request.losses,
        sweep=None,
        suite=request.suite,
        model=request.model,
        data=request.data,
        protocol=None,
        trials=1,
        seeds=0,
        settings=request.settings,
        results=request.results,
        study=None,
        storage=None,
        sampler="grid",
        workers=1,
        processes=1,
        resume=True,
        loss_files=(),
    )


def _check(request: IterateRequest, plan: "Plan") -> None:
    """Refuse what rounds cannot do."""
    from bench.assemble import VOCABULARY

    if plan.workspace.problem is not None:
        raise UsageError(
            f"suite {request.suite} knows every completion, and nothing has to be sampled", fix="--suite sentiment"
        )
    if request.reference not in ("previous", "start"):
        raise UsageError(f"--reference {request.reference!r}", fix="--reference previous, or start")
    if request.both_orders and request.judge in (SELF, "gold"):
        raise UsageError(f"--both-orders: judge {request.judge} sees one answer at a time", fix="leave it out")
    if request.reference == "previous":
        return
    for search in plan.searches:
        objective, params = search.objective, search.spec(plan.workspace, {}, seed=0).params
        if objective.requires & VOCABULARY or not objective.reference_schedule(params).is_frozen:
            raise UsageError(
                f"--reference start: {objective.name} asks a reference that lives beside the policy, which starts as "
                "the policy of the round before",
                fix="--reference previous, or an objective with a frozen reference and cached log-probs",
            )


def _spec(request: IterateRequest, plan: "Plan", run: Any, judging: "Judging", *, count: int, tokens: int) -> Any:
    from bench.iterate.spec import LoopSpec

    workspace = plan.workspace
    return LoopSpec(
        suite=workspace.suite.name,
        suite_version=workspace.suite.version,
        data=workspace.data_spec.content,
        model=workspace.model_spec,
        objective=run.objective,
        objective_version=run.objective_version,
        objective_content=run.objective_content,
        params=run.params,
        train=run.train,
        seed=run.seed,
        prompts=count,
        fresh=request.fresh,
        samples=request.samples,
        tokens=tokens,
        temperature=request.temperature or workspace.evaluation.temperature,
        judge=judging.identity,
        both_orders=request.both_orders,
        pairs=request.pairs,  # type: ignore[arg-type]  # checked before, with a hint
        reference=request.reference,  # type: ignore[arg-type]  # likewise
    )


def _tell_plan(request: IterateRequest, loops: list["Loop"], judging: "Judging", note: Callable[[str], None]) -> None:
    spec, rounds = loops[0].spec, len(loops) * request.rounds
    each = spec.prompts * spec.samples
    compared = judging.judge is not None and judging.judge.score is None
    asked = each * (spec.samples - 1) // 2 * (1 + spec.both_orders) if compared else each
    asked *= request.judgements if request.judge == SELF and request.judgements else 1
    note(
        f"{len(loops)} loops of {request.rounds} rounds: {rounds} times {spec.prompts} prompts × {spec.samples} "
        f"completions, at most {asked:,} {'comparisons' if compared else 'judgements'} by {judging.name}, and "
        f"{spec.train.steps} steps"
    )
    for loop in loops:
        done = sum(_is_trained(loop, number) for number in range(1, request.rounds + 1))
        note(f"  {loop.spec.objective} seed {loop.spec.seed}: {loop.folder}, {done} of {request.rounds} rounds trained")


def _is_trained(loop: "Loop", number: int) -> bool:
    return any(loop.round_folder(number).glob("runs/[!.]*/manifest.json"))


def _run_all(
    request: IterateRequest, plan: "Plan", loops: list["Loop"], judging: "Judging", console: Console
) -> list[str]:
    from bench.hooks import stoppable
    from bench.iterate.loop import PARTS, run_loop
    from bench.progress import Progress

    failures: list[str] = []

    def left() -> int:
        numbers = range(1, request.rounds + 1)
        return sum(not (each.round_folder(n) / "labels" / "manifest.json").exists() for each in loops for n in numbers)

    total = len(loops) * request.rounds * PARTS
    with stoppable() as stop, Progress(console, total=total, unit="parts") as progress:
        for loop in loops:
            own = replace(judging, seed=loop.spec.seed, left=left)
            try:
                run_loop(loop, own, rounds=request.rounds, progress=progress, stop=stop)
            except RunError as error:
                failures.append(f"{loop.spec.objective} seed {loop.spec.seed}: {error.problem}")
                progress.note(f"{failures[-1]}: {error.fix or 'other loops go on'}")
    return failures


def _report(results: Path, console: Console) -> None:
    from bench.report.iterations import rounds_table, write_iterations
    from bench.report.written import remember

    written, rows = write_iterations(results)
    if rows:
        console.print(rounds_table(rows))
    remember(results, written)
    for path in written:
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)
