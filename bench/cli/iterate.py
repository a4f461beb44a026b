"""The command ``bench iterate``: train in rounds, each from the policy of the one before."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import Out, app
from bench.errors import RunError
from bench.evaluate.judges.registry import FORMS
from bench.utils.console import say
from bench.utils.event_log import command_log

if TYPE_CHECKING:
    from rich.console import Console

    from bench.runner.iterate.judging import Judging
    from bench.runner.iterate.request import IterateRequest
    from bench.runner.iterate.round import Loop


@app.command()
def iterate(
    loss: Annotated[
        str,
        typer.Option("--loss", help="Objectives, separated by commas; each has its own loops. Example: --loss dpo,ipo"),
    ],
    judge: Annotated[
        str,
        typer.Option(
            "--judge",
            help=f"The judge that labels: {FORMS}; or self, the policy. Example: --judge reward:my-reward-model",
        ),
    ] = "gold",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=1000, help="Rounds of each loop. Example: --rounds 3")
    ] = 3,
    samples: Annotated[
        int, typer.Option("--samples", min=2, max=256, help="Completions sampled for each prompt. Example: --samples 4")
    ] = 4,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0.01,
            help="Temperature of the completions; default: the suite's. Example: --temperature 0.7",
        ),
    ] = None,
    prompts: Annotated[
        int | None,
        typer.Option(
            "--prompts",
            min=1,
            help="Prompts in each round; default: all, up to the pairs that its steps draw. Example: --prompts 512",
        ),
    ] = None,
    fresh_prompts: Annotated[
        bool, typer.Option("--fresh-prompts", help="Use each prompt in one round only. Example: --fresh-prompts")
    ] = False,
    pairs: Annotated[
        str,
        typer.Option(
            "--pairs", help="Which pairs to make of a prompt's completions: best-worst, or all. Example: --pairs all"
        ),
    ] = "best-worst",
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            help="The reference of a round: previous (policy of the round before), or start (the first). "
            "Example: --reference start",
        ),
    ] = "previous",
    judgements: Annotated[
        int,
        typer.Option(
            "--judgements",
            min=0,
            max=100,
            help="With --judge self: judgements sampled of each answer; 0: the expected score by the digits' "
            "probabilities. Example: --judgements 0",
        ),
    ] = 3,
    both_orders: Annotated[
        bool,
        typer.Option(
            "--both-orders", help="Show each pair in both orders to a judge that compares. Example: --both-orders"
        ),
    ] = False,
    suite: Annotated[
        str, typer.Option("--suite", help="Prompts, start model and evaluation. Example: --suite sentiment")
    ] = "sentiment",
    model: Annotated[
        str | None,
        typer.Option("--model", help="The first start model: a folder, or run:KEY. Example: --model ./my-sft"),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Preferences whose prompts are used. Example: --data prefs.jsonl"),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=1000, help="Loops of each objective. Example: --seeds 3")
    ] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Set a parameter, or any field of the spec. Example: --set beta=0.1 --set train.steps=32"
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost", help="Stop before asking a judge that may cost more than this. Example: --max-cost 20"
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop. Example: --dry-run")] = False,
    out: Out = Path("results"),
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Train in rounds: sample from the current policy, label, make pairs, train on them, go on from there.

    KL and win rate are against the first start model in every round. The same command again does only what is missing,
    and more --rounds add to a loop (docs/iterate.md).

    Examples:

        bench iterate --loss dpo,ipo --judge gold --rounds 3 --seeds 2

        bench iterate --loss dpo --judge reward:my-reward-model --model ./my-sft --data prompts.jsonl --fresh-prompts

        bench iterate --loss dpo --judge self --judgements 3
    """
    from bench.core.request import RunRequest
    from bench.runner.iterate.request import IterateRequest

    run = {"loss": loss, "suite": suite, "model": model, "data": data, "set": settings, "out": out}
    iterate_command(
        IterateRequest.model_validate(
            {
                "run": RunRequest.from_options({**run, "trials": 1, "seeds": 0, "workers": "1"}),
                "rounds": rounds,
                "samples": samples,
                "temperature": temperature,
                "prompts": prompts,
                "fresh": fresh_prompts,
                "judge": judge,
                "judgements": judgements,
                "both_orders": both_orders,
                "pairs": pairs,
                "reference": reference,
                "seeds": seeds,
                "max_cost": max_cost,
                "dry_run": dry_run,
            }
        )
    )


def iterate_command(request: "IterateRequest") -> None:
    """Run every loss for every seed, each for all its rounds, doing only what is missing.

    Raises:
        UsageError: a part of the request that cannot be right. RunError: loops that failed, after all others.
        KeyboardInterrupt: a stop was requested; the same command goes on.
    """
    from rich.console import Console

    from bench.utils.process import loading, quiet_libraries

    quiet_libraries()
    console = Console()
    with loading():
        from bench.models.matmul import take_route
        from bench.runner.iterate.prepare import prepared
        from bench.utils.files import could_be_written, writable

        note = partial(say, console)
        if request.dry_run:
            could_be_written(request.run.results)
            take_route()
            _plan_rounds(request, console, note)
            return
        writable(request.run.results)
        loops, judging = prepared(request, console, note=note)
        take_route()
    _tell_plan(request, loops, judging, note)
    with command_log(request.run.results, "iterate", arguments=sys.argv[1:], make=True):
        failures = _run_all(request, loops, judging, console)
        _report(request.run.results, console)
    if failures:
        raise RunError(
            f"{len(failures)} of {len(loops)} loops failed; {failures[0]}",
            fix="remove the cause; the same command does only what is missing",
        )


def _plan_rounds(request: "IterateRequest", console: "Console", note: Callable[[str], None]) -> None:
    """Print the plan and the time of its rounds, for ``--dry-run``: no weights are loaded, and nothing is left."""
    from bench.runner.estimate.rounds import rounds_lines
    from bench.runner.iterate.prepare import loops_of
    from bench.runner.plan import make_plan

    with TemporaryDirectory(prefix="bench-plan-") as scratch:
        plan = make_plan(request.run, note=note, scratch=Path(scratch))
        loops, judging = loops_of(request, plan, console, note=note)
        _tell_plan(request, loops, judging, note)
        for line in rounds_lines(request, loops, plan):
            note(line)


def _tell_plan(request: "IterateRequest", loops: list["Loop"], judging: "Judging", note: Callable[[str], None]) -> None:
    from bench.runner.iterate.spec import SELF

    spec, rounds = loops[0].spec, len(loops) * request.rounds
    each = spec.prompts * spec.samples
    compared = judging.judge is not None and judging.judge.score is None
    count = each * (spec.samples - 1) // 2 * (1 + spec.both_orders) if compared else each
    count *= request.judgements if request.judge == SELF and request.judgements else 1
    note(
        f"{len(loops)} loops of {request.rounds} rounds: {rounds} times {spec.prompts} prompts × {spec.samples} "
        f"completions, at most {count:,} {'comparisons' if compared else 'judgements'} by {judging.name}, and "
        f"{spec.train.steps} steps"
    )
    for loop in loops:
        done = sum(_is_trained(loop, number) for number in range(1, request.rounds + 1))
        note(f"  {loop.spec.objective} seed {loop.spec.seed}: {loop.folder}, {done} of {request.rounds} rounds trained")


def _is_trained(loop: "Loop", number: int) -> bool:
    return any(loop.round_folder(number).glob("runs/[!.]*/manifest.json"))


def _run_all(request: "IterateRequest", loops: list["Loop"], judging: "Judging", console: "Console") -> list[str]:
    from bench.runner.iterate.loop import PARTS, run_loop
    from bench.utils.progress import Progress
    from bench.utils.stop_signals import stoppable

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


def _report(results: Path, console: "Console") -> None:
    from bench.core.outputs import remember
    from bench.report.figures.iterations import rounds_tables, write_iterations

    written, rows = write_iterations(results)
    for table in rounds_tables(rows):
        console.print(table, "")
    console.print("KL and wins are against the first start model; target ± 95 % interval over seeds")
    remember(results, written)
    for path in written:
        say(console, f"  {path}")
