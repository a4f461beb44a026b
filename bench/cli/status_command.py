"""``bench status``: one look, or one every few seconds; as tables or as JSON."""

import json
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from bench.errors import UsageError
from bench.runner.status.overview import overview
from bench.runner.status.show import render_status


def show_status(
    results: Path,
    *,
    storage: str | None,
    study: str | None,
    watch: bool,
    every: float,
    verbose: bool,
    cost: bool,
    price: float | None,
    as_json: bool,
) -> None:
    """``bench status``."""
    if not results.is_dir() and storage is None:
        raise UsageError(f"no results folder {results}", fix="name it with --out, or the study's --storage")
    if watch and (as_json or cost):
        raise UsageError("--watch shows the tables alone", fix="leave --json and --cost out, or --watch")
    if price is not None and not cost:
        raise UsageError(f"--price {price:g} is for --cost", fix=f"--cost --price {price:g}")
    if cost:
        _show_cost(results, price=price, as_json=as_json)
        return
    if as_json:
        print(json.dumps(overview(results, storage=storage, study=study).as_json(), indent=1, ensure_ascii=False))
        return
    console = Console()
    if not watch:
        console.print(render_status(overview(results, storage=storage, study=study), verbose=verbose))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                found = overview(results, storage=storage, study=study)
                live.update(render_status(found, verbose=verbose), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def _show_cost(results: Path, *, price: float | None, as_json: bool) -> None:
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
        console.print(f"damaged: {problem.detail}", highlight=False, markup=False, style="red")
