"""The options of ``bench status``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Out, app


@app.command()
def status(
    out: Out = Path("results"),
    storage: Annotated[
        str | None,
        typer.Option("--storage", help="Optuna storage, if not in --out. Example: --storage sqlite:///s.db"),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Only studies of this name. Example: --study night")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every few seconds, until Ctrl-C. Example: --watch")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.2, help="Seconds between two looks. Example: --watch --every 10")
    ] = 3.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Every failed trial with its whole error. Example: --verbose")
    ] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="What each objective cost: hours, tokens, energy. Example: --cost")
    ] = False,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="Euro per device hour. Example: --cost --price 2.50")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Example: bench status --json")] = False,
) -> None:
    """Show what goes on in a results folder: studies, workers, trainings, time left, failures. It writes nothing.

    Examples:  bench status · bench status --watch · bench status --cost --price 2.50 · bench status --json
    """
    from bench.cli.status_command import show_status

    show_status(
        out, storage=storage, study=study, watch=watch, every=every, verbose=verbose, cost=cost, price=price,
        as_json=as_json,
    )  # fmt: skip
