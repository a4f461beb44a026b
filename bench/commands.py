"""Owns what each command does and prints, once its options are read."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.errors import RunError, UsageError, did_you_mean, plain
from bench.heap import loading
from bench.logs import command_log
from bench.quiet import quiet_libraries
from bench.report.store import load_records
from bench.request import Request

if TYPE_CHECKING:
    from bench.crew import Crew
    from bench.plan import Plan


def run_command(request: Request, *, dry_run: bool) -> None:
    """``bench run``: plan, compare, write leaderboard, figures and page, print the summary."""
    quiet_libraries()
    console = Console()
    with loading():
        import torch

        threads = torch.get_num_threads()
        if request.workers != 1:
            # A process that may be forked never starts OpenMP's threads: a child would wait for them for ever.
            torch.set_num_threads(1)
        from bench.compare import crew_for
        from bench.matmul import take_fastest_route
        from bench.plan import make_plan

        writable(request.results)
        plan = make_plan(request, note=lambda text: console.print(plain(text), highlight=False, markup=False))
        crew = crew_for(plan)
        if crew.workers == 1:
            torch.set_num_threads(threads)
        take_fastest_route()
    if dry_run:
        from bench.estimate import plan_table

        console.print(plan_table(plan))
        return
    # Not before: a request that is refused leaves nothing behind.
    with command_log(request.results, "run", arguments=sys.argv[1:], make=True):
        _do(plan, crew, console)


def _do(plan: "Plan", crew: "Crew", console: Console) -> None:
    with loading():
        from bench.compare import compare, plan_units
        from bench.progress import Progress
        from bench.report.costs import write_costs
        from bench.report.figures import write_figures
        from bench.report.leaderboard import write_leaderboard
        from bench.report.page import write_page
        from bench.report.pruning import pruning_of, pruning_text
        from bench.report.summary import summary_table
        from bench.report.written import remember

    request = plan.request
    with Progress(console, total=plan_units(plan), threaded=crew.workers == 1) as progress:
        records, failures = compare(plan, progress, crew=crew)
    tables = write_leaderboard(request.results)
    drawn = write_figures(request.results)
    pictures = [path for path in drawn if path.suffix == ".png"]
    console.print(summary_table(records))
    for found in pruning_of(records):
        console.print(pruning_text(found), highlight=False, markup=False)
    page = write_page(request.results)
    costs = write_costs(request.results, load_records(request.results))
    remember(request.results, (*tables.written, costs, *drawn, page))
    for path in (*tables.written, costs, *pictures, page):
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)
    if failures:
        raise RunError(
            f"{len(failures)} of {sum(search.trials for search in plan.searches)} settings failed; {failures[0]}",
            fix="mend the cause; the same command does only what is missing",
        )


def open_command(request: Request) -> None:
    """``bench run --open``: check everything and open the study, so that workers find what to do."""
    quiet_libraries()
    console = Console()
    if request.study is None:
        raise UsageError("--open needs a name that workers join by", fix="--study NAME")
    with loading():
        from bench.agenda import open_agenda
        from bench.hooks import hooks_of, stoppable
        from bench.plan import make_plan

        writable(request.results)
        plan = make_plan(request)
    with stoppable() as stop:
        note = partial(console.print, highlight=False, markup=False, soft_wrap=True)
        open_agenda(plan, hooks_of(plan, advance=lambda units, text: None, note=note, stop=stop), retry=None)
        note(f"study {request.study} is open: {plan.runs} trainings; join it with")
        place = "" if request.storage is None else " --storage …"
        note(f"  bench worker --study {request.study} --out {request.results.absolute()}{place}")


def list_losses(*, paired: bool, unpaired: bool, reference_free: bool, needed: list[str], as_json: bool) -> None:
    """``bench losses``."""
    from bench.catalogue import NEEDS, data_kind, needs, row, select
    from losses.registry import problems

    for name in needed:
        if name not in NEEDS:
            raise UsageError(f"--needs {name!r}: no objective needs that", fix=did_you_mean(name, tuple(NEEDS)))
    found = select(paired=paired, unpaired=unpaired, reference_free=reference_free, needed=needed)
    if as_json:
        print(json.dumps([row(objective) for objective in found], indent=1, ensure_ascii=False))
        return
    # Text and not str: an equation's [z]+ would be read as markup.
    table = Table(title=f"{len(found)} objectives", box=box.SIMPLE_HEAD, expand=True)
    table.add_column("objective", no_wrap=True)
    table.add_column("loss", ratio=5)
    table.add_column("data, needs", ratio=3)
    table.add_column("parameter, default", ratio=3)
    for objective in found:
        params = "\n".join(f"{name} {param.default:g}" for name, param in objective.params.items())
        cells = (objective.name, objective.equation, ", ".join([data_kind(objective), *needs(objective)]), params)
        table.add_row(*map(Text, cells))
    Console().print(table)
    for point, reason in problems().items():
        Console(stderr=True).print(f"broken: {point}: {reason}", highlight=False, markup=False, soft_wrap=True)


def show_loss(name: str) -> None:
    """``bench losses show NAME``."""
    from bench.catalogue import page
    from losses import get, names
    from losses.grammar import EXPRESSIONS, ExpressionError

    try:
        objective = get(name)
    except KeyError as error:
        raise UsageError(f"unknown loss {name!r}", fix=did_you_mean(name, names(), listed_by="bench losses")) from error
    except ExpressionError as error:
        raise UsageError(str(error), fix=EXPRESSIONS) from error
    Console(highlight=False, markup=False).print(page(objective), soft_wrap=True)


def list_suites() -> None:
    """``bench suites``."""
    from bench.suites.suite import get_suite, suite_names

    table = Table("suite", "what it asks", "protocols", title="Suites")
    for name in suite_names():
        suite = get_suite(name)
        protocols = [f"{suite.train.steps} steps of {suite.train.batch}"]
        protocols += [
            f"{preset}: {p.trials} settings of {', '.join(p.axes)}, {p.seeds} + {p.final_seeds} seeds"
            for preset, p in suite.presets.items()
        ]
        table.add_row(name, f"{suite.title}\n{suite.description.strip()}", "\n".join(protocols))
    Console().print(table)


def build_suite(name: str, *, corpus: Path, blimp: Path | None, out: Path | None) -> None:
    """``bench suites build NAME``."""
    quiet_libraries()
    from bench.suites.build.sentiment import build_sentiment
    from bench.suites.suite import get_suite

    suite = get_suite(name)
    console = Console()
    build_sentiment(
        corpus,
        out or suite.folder,
        blimp=blimp,
        report=lambda text: console.print(text, highlight=False, markup=False),
    )


def reproduce_known(name: str | None, out: Path | None, *, to: Path | None) -> None:
    """``bench reproduce``."""
    quiet_libraries()
    from bench.exact.reproduce import RESULTS, reproduce
    from bench.matmul import take_fastest_route
    from bench.report.bundle import write_bundle
    from bench.report.reproduced import write_reproduced
    from bench.report.written import remember

    console = Console()
    if name is None:
        table = Table("result", "what it says", "source", title="Known results", box=box.SIMPLE_HEAD)
        for key, known in RESULTS.items():
            table.add_row(key, Text(f"{known.title}\n{known.claim}"), known.paper)
        console.print(table)
        return
    if name not in RESULTS:
        raise UsageError(f"no known result is called {name!r}", fix=did_you_mean(name, tuple(RESULTS)))
    results = out or Path("reproduced") / name
    writable(results)
    take_fastest_route()
    known = RESULTS[name]
    with command_log(results, "reproduce", arguments=sys.argv[1:], make=True):
        reproduce(known, results, console)
    console.print(Text(f"{known.title} ({known.paper})\n{known.claim}"))
    written = write_reproduced(name, results)
    remember(results, written)
    if to is not None:
        writable(to)
        passed_on = [write_bundle(load_records(results), to), *write_reproduced(name, to, formats=("pdf", "png"))]
        remember(to, passed_on)
        written += passed_on
    for path in written:
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def writable(results: Path) -> None:
    """Refuse an output folder that cannot be written before anything is computed."""
    if not str(results).isprintable():
        raise UsageError(
            f"results folder {str(results)!r}: the name has characters that cannot be shown", fix="--out results"
        )
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe = results / f".write-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"results folder {results} cannot be written: {error.strerror}",
            fix="free space, mend its permissions, or give another: --out",
        ) from error
