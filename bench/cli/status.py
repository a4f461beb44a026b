"""The command ``bench status``: one look at a results folder, or one every few seconds."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Out, app
from bench.errors import UsageError
from bench.utils.console import say


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
        bool, typer.Option("--watch", help="Refresh every few seconds, until Ctrl-C. Example: --watch")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.2, help="Seconds between refreshes. Example: --watch --every 10")
    ] = 3.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show every failed trial with its whole error. Example: --verbose")
    ] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Show what each objective cost: hours, tokens, energy. Example: --cost")
    ] = False,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="Euro per device hour. Example: --cost --price 2.50")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Example: bench status --json")] = False,
) -> None:
    """Show the state of a results folder: studies, workers, trainings, time left, failures. It writes nothing.

    Examples:  bench status · bench status --watch · bench status --cost --price 2.50 · bench status --json
    """
    if not out.is_dir() and storage is None:
        raise UsageError(f"no results folder {out}", fix="name it with --out, or the study's --storage")
    if watch and (as_json or cost):
        raise UsageError("--watch does not go with --json or --cost", fix="leave out --watch, or the other")
    if price is not None and not cost:
        raise UsageError(f"--price {price:g} needs --cost", fix=f"--cost --price {price:g}")
    if cost:
        _show_cost(out, price=price, as_json=as_json)
        return
    from rich.console import Console

    from bench.runner.status.overview import overview
    from bench.runner.status.show import render_status

    if as_json:
        print(json.dumps(overview(out, storage=storage, study=study).as_json(), indent=1, ensure_ascii=False))
        return
    console = Console()
    if not watch:
        console.print(render_status(overview(out, storage=storage, study=study), verbose=verbose))
        return
    from rich.live import Live

    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                state = overview(out, storage=storage, study=study)
                live.update(render_status(state, verbose=verbose), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def _show_cost(results: Path, *, price: float | None, as_json: bool) -> None:
    from rich.console import Console

    from bench.core.results import read_records
    from bench.report.analysis.costs import cost_tables, costs_of

    records, problems = read_records(results)
    rows = costs_of(records, price=price)
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=1, ensure_ascii=False))
        return
    console = Console()
    for table in cost_tables(rows):
        console.print(table)
    for problem in problems:
        say(console, f"damaged: {problem.detail}", style="red")
