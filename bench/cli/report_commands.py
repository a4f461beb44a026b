"""The commands that make tables, figures and the page again from finished runs, and check them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.core.outputs import remember
from bench.core.record import RunRecord
from bench.core.results import load_records
from bench.errors import RunError, UsageError, did_you_mean
from bench.utils.event_log import command_log
from bench.utils.files import writable
from bench.utils.process import quiet_libraries
from bench.utils.redact import for_terminal


def reproduce_known(name: str | None, out: Path | None, *, to: Path | None) -> None:
    """``bench reproduce``."""
    quiet_libraries()
    from bench.core.bundle import write_bundle
    from bench.core.outputs import remember
    from bench.models.matmul import take_fastest_route
    from bench.report.figures.reproduced import write_reproduced
    from bench.runner.reproduce import RESULTS, reproduce

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


def make_leaderboard(
    results: Path, *, protocol: str | None = None, formats: Sequence[str] = ("csv", "md", "tex")
) -> None:
    """``bench leaderboard``."""
    from bench.report.analysis.analysis import analyse
    from bench.report.analysis.costs import write_costs
    from bench.report.tables.leaderboard import write_leaderboard
    from bench.report.tables.summary import summary_table

    console, everything = Console(), _records(results)
    analysis = analyse(everything, protocol=protocol)
    paths = write_leaderboard(results, analysis=analysis, formats=formats)
    remember(results, paths.written)
    console.print(summary_table(analysis.groups))
    for path in (*paths.written, *([write_costs(results, everything)] if "md" in formats else [])):
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def make_figures(results: Path, *, style: str, formats: str, columns: int | None) -> None:
    """``bench figures``."""
    from bench.report.analysis.analysis import analyse
    from bench.report.figures.saving import formats_of
    from bench.report.figures.style import style_of
    from bench.report.figures.write import write_figures

    # options are read first: a folder of many records takes seconds
    style_of(style, columns=columns)
    kinds = formats_of(formats)
    analysis = analyse(_records(results))
    written = write_figures(results, analysis=analysis, style=style, formats=kinds, columns=columns)
    remember(results, written)
    for path in written:
        Console().print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def make_page(results: Path) -> None:
    """``bench page``."""
    from bench.report.analysis.analysis import analyse
    from bench.report.page.render import write_page

    written = write_page(results, analysis=analyse(_records(results)))
    remember(results, [written])
    Console().print(f"  {written}", highlight=False, markup=False, soft_wrap=True)


def publish_results(results: Path, to: Path, *, protocol: str | None) -> None:
    """``bench publish``."""
    from bench.core.bundle import write_bundle
    from bench.report.analysis.analysis import analyse, analyse_folder
    from bench.report.figures.write import write_figures
    from bench.report.page.render import PAGE, page_html
    from bench.report.tables.leaderboard import write_leaderboard
    from bench.utils.files import write_text_whole

    if to.resolve() == results.resolve():
        # The bundle would give every record a second time.
        raise UsageError(f"{to} is the results folder itself", fix="name another folder to publish into")
    analysis = analyse(_records(results), protocol=protocol)
    writable(to)
    written = [write_bundle([record for group in analysis.groups for record in group.records], to)]
    analysis = analyse_folder(to)  # what the bundle holds, checked as its readers will check it
    # every trial as a row of its own is large, and made again by `bench leaderboard`
    written += write_leaderboard(to, analysis=analysis, tidy=False).written
    written += write_figures(to, analysis=analysis, formats=("pdf", "png"))
    # completions lie with the runs, not in the bundle
    write_text_whole(to / PAGE, page_html(analysis, results=results, figures=to))
    remember(to, (*written, to / PAGE))
    for path in (*written, to / PAGE):
        Console().print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def verify_results(results: Path) -> None:
    """``bench verify``."""
    from bench.core.results import verify_results as check

    if not results.is_dir():
        raise UsageError(f"no results folder {results}", fix="name it with --out")
    problems = check(results)
    for problem in problems:
        Console(stderr=True).print(for_terminal(str(problem)), highlight=False, markup=False, soft_wrap=True)
    if problems:
        raise RunError(
            f"{len(problems)} files are not what was written",
            fix="remove the folders (of tables and figures: the files) named above and run the same command again",
        )
    Console().print(f"everything in {results} is as it was written", highlight=False, markup=False, soft_wrap=True)


def _records(results: Path) -> list[RunRecord]:
    records = load_records(results)
    if not records:
        raise UsageError(
            f"no finished run in {results}", fix="bench run --loss ipo --sweep beta, or name the folder: --out"
        )
    return records
