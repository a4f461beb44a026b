"""Owns the options of ``bench evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app


@app.command()
def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="A model: a local folder, or run:KEY. Example: bench evaluate run:3f9c --tasks hellaswag"),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", help="lm-eval tasks, comma-separated. Example: --tasks hellaswag,arc_easy"),
    ] = None,
    judgements: Annotated[
        list[Path] | None,
        typer.Option(
            "--judgements",
            help="Stored judgements as CSV or alpaca-eval's JSON; several for their agreement. "
            "Example: --judgements annotations.json",
        ),
    ] = None,
    difficulty: Annotated[
        Path | None,
        typer.Option(
            "--difficulty",
            help="Length control: alpaca-eval's instruction_difficulty.csv. Example: --difficulty difficulty.csv",
        ),
    ] = None,
    gamed: Annotated[
        Path | None,
        typer.Option("--gamed", help="Length control: alpaca-eval's df_gamed.csv. Example: --gamed df_gamed.csv"),
    ] = None,
    join: Annotated[
        str,
        typer.Option(
            "--join",
            help="Length control: a question's difficulty by the row's position (as AlpacaEval publishes) or by its "
            "index; the same where no question is absent. Example: --join index",
        ),
    ] = "position",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help="Who compares: gold, reward:FOLDER, lm:FOLDER, api:MODEL@URL, or a TOML file; several for their "
            "agreement. Example: --judge api:llama@http://localhost:8000/v1",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Table (CSV), or results folder with --tasks. Example: --out table.csv")
    ] = Path("results"),
) -> None:
    """Evaluate a model, or judgements that were made elsewhere: tasks of lm-eval, or comparisons by a judge.

    Examples:

        bench evaluate run:3f9c --tasks hellaswag,arc_easy

        bench evaluate --judgements annotations.json --difficulty instruction_difficulty.csv --gamed df_gamed.csv
        --out table.csv
    """
    from bench.evaluate_command import Evaluation, evaluate_command

    evaluate_command(
        Evaluation(
            checkpoint=checkpoint,
            tasks=tasks,
            judgements=tuple(judgements or ()),
            difficulty=difficulty,
            gamed=gamed,
            join=join,
            judges=tuple(judge or ()),
            out=out,
        )
    )
