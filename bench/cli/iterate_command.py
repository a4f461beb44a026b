"""``bench iterate``: what was asked for, checked whole; loops run one after another; table, CSV and figure."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.errors import RunError
from bench.runner.iterate.request import IterateRequest
from bench.runner.iterate.spec import SELF
from bench.utils.event_log import command_log
from bench.utils.process import loading, quiet_libraries

if TYPE_CHECKING:
    from bench.runner.iterate.judging import Judging
    from bench.runner.iterate.round import Loop


def iterate_command(request: IterateRequest) -> None:
    """Run every loss for every seed, each for all its rounds, doing only what is missing.

    Raises:
        UsageError: what was asked for cannot be right. RunError: loops that could not go on, after all others.
        KeyboardInterrupt: a stop was asked for; the same command goes on.
    """
    quiet_libraries()
    console = Console()
    with loading():
        from bench.models.matmul import take_fastest_route
        from bench.runner.iterate.prepare import prepared
        from bench.utils.files import writable

        writable(request.results)
        note = partial(console.print, highlight=False, markup=False, soft_wrap=True)
        loops, judging = prepared(request, console, note=note)
        take_fastest_route()
    _tell_plan(request, loops, judging, note)
    if request.dry_run:
        return
    with command_log(request.results, "iterate", arguments=sys.argv[1:], make=True):
        failures = _run_all(request, loops, judging, console)
        _report(request.results, console)
    if failures:
        raise RunError(
            f"{len(failures)} of {len(loops)} loops could not go on; {failures[0]}",
            fix="mend the cause; the same command does only what is missing",
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


def _run_all(request: IterateRequest, loops: list["Loop"], judging: "Judging", console: Console) -> list[str]:
    from bench.runner.hooks import stoppable
    from bench.runner.iterate.loop import PARTS, run_loop
    from bench.utils.progress import Progress

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
    from bench.core.outputs import remember
    from bench.report.figures.iterations import rounds_tables, write_iterations

    written, rows = write_iterations(results)
    for table in rounds_tables(rows):
        console.print(table, "")
    console.print("KL and wins are against the first start model; target ± 95 % interval over seeds")
    remember(results, written)
    for path in written:
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)
