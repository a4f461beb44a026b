"""The options of ``bench iterate``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Out, app


@app.command()
def iterate(
    loss: Annotated[
        str, typer.Option("--loss", help="Objectives, comma-separated, a loop each. Example: --loss dpo,ipo")
    ],
    judge: Annotated[
        str,
        typer.Option(
            "--judge",
            help="Who labels: gold, reward:FOLDER, lm:FOLDER, api:MODEL@URL, a TOML file, or self (the policy). "
            "Example: --judge reward:my-reward-model",
        ),
    ] = "gold",
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Rounds. Example: --rounds 3")] = 3,
    samples: Annotated[
        int, typer.Option("--samples", min=2, max=256, help="Completions of each prompt. Example: --samples 4")
    ] = 4,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature", min=0.01, help="Of the completions; default: the suite's. Example: --temperature 0.7"
        ),
    ] = None,
    prompts: Annotated[
        int | None,
        typer.Option(
            "--prompts",
            min=1,
            help="Prompts of a round; default: all, up to the pairs that its steps draw. Example: --prompts 512",
        ),
    ] = None,
    fresh_prompts: Annotated[
        bool, typer.Option("--fresh-prompts", help="No prompt in two rounds. Example: --fresh-prompts")
    ] = False,
    pairs: Annotated[
        str,
        typer.Option("--pairs", help="Of each prompt's completions: best-worst, or all pairs. Example: --pairs all"),
    ] = "best-worst",
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            help="previous: the policy of the round before; start: the first one. Example: --reference start",
        ),
    ] = "previous",
    judgements: Annotated[
        int,
        typer.Option(
            "--judgements",
            min=0,
            max=100,
            help="Of --judge self: sampled ones of each answer; 0: the expected score by the digits' probabilities. "
            "Example: --judgements 0",
        ),
    ] = 3,
    both_orders: Annotated[
        bool,
        typer.Option(
            "--both-orders", help="Show a judge that compares each pair in both orders. Example: --both-orders"
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
        typer.Option("--data", help="Preferences whose prompts are taken. Example: --data prefs.jsonl"),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Whole loops. Example: --seeds 3")] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the spec. Example: --set beta=0.1 --set train.steps=32"),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Ask a judge nothing if it may cost more. Example: --max-cost 20")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done and stop. Example: --dry-run")
    ] = False,
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
    from bench.cli.iterate_command import iterate_command
    from bench.runner.iterate.request import IterateRequest
    from losses.grammar import split_expressions

    iterate_command(
        IterateRequest(
            losses=split_expressions(loss),
            suite=suite,
            model=model,
            data=tuple(data) if data else None,
            settings=tuple(settings or ()),
            rounds=rounds,
            samples=samples,
            temperature=temperature,
            prompts=prompts,
            fresh=fresh_prompts,
            judge=judge,
            judgements=judgements,
            both_orders=both_orders,
            pairs=pairs,
            reference=reference,
            seeds=seeds,
            max_cost=max_cost,
            dry_run=dry_run,
            results=out,
        )
    )
