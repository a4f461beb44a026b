"""The commands that read records: leaderboard, figures, page, publish, reproduce, verify."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import Margin, Out, app
from bench.errors import RunError, UsageError, did_you_mean
from bench.utils.console import say
from bench.utils.event_log import command_log
from bench.utils.files import writable, write_text_whole
from bench.utils.redact import for_terminal

if TYPE_CHECKING:
    from bench.report.analysis.analysis import Analysis


@app.command()
def leaderboard(
    out: Out = Path("results"),
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="One tuning protocol of several, by its hash or preset. Example: --protocol standard --protocol 3f9c",
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="csv, md, tex, comma-separated. Example: --format csv,tex")
    ] = "csv,md,tex",
    margin: Margin = None,
) -> None:
    """Make the leaderboard again, from the records alone: CSV with every trial, Markdown, LaTeX, and the verdict.

    Examples:  bench leaderboard --out results · bench leaderboard --protocol standard --format tex
    """
    from rich.console import Console

    from bench.cli.closing import closing_lines
    from bench.core.outputs import remember
    from bench.report.analysis.costs import write_costs
    from bench.report.tables.leaderboard import check_formats, write_leaderboard
    from bench.report.tables.summary import summary_table

    with command_log(out, "leaderboard", arguments=sys.argv[1:]):
        kinds = [name.strip() for name in formats.split(",")]
        # options are checked first: a folder of many records takes seconds
        check_formats(kinds)
        analysis = _analysis(out, protocol=protocol, margin=margin)
        paths = write_leaderboard(out, analysis=analysis, formats=kinds)
        remember(out, paths.written)
        Console().print(summary_table(analysis.comparisons))
        costs = [write_costs(out, analysis.costs)] if "md" in kinds else []
        _print_paths([*paths.written, *costs])
        for line in closing_lines(analysis, out):
            say(Console(), for_terminal(line))


@app.command()
def figures(
    out: Out = Path("results"),
    style: Annotated[
        str,
        typer.Option("--style", help="paper (8 pt, a column or page wide) or slides (16:9). Example: --style slides"),
    ] = "paper",
    formats: Annotated[
        str, typer.Option("--formats", help="Some of pdf, png, svg, comma-separated. Example: --formats pdf,svg")
    ] = "pdf,png,svg",
    columns: Annotated[
        int | None,
        typer.Option("--columns", help="Width: 1 column or 2; default: what each needs. Example: --columns 1"),
    ] = None,
    margin: Margin = None,
) -> None:
    """Draw the figures again, from the records alone, each with its plotted numbers as CSV.

    Fonts are embedded, colours hold for colour-blind readers, and an objective has one colour in every figure.

    Examples:  bench figures · bench figures --style slides --formats png · bench figures --formats pdf --columns 1
    """
    from bench.core.outputs import remember
    from bench.report.figures.saving import formats_of
    from bench.report.figures.style import style_of
    from bench.report.figures.write import write_figures

    with command_log(out, "figures", arguments=sys.argv[1:]):
        # options are checked first: a folder of many records takes seconds
        style_of(style, columns=columns)
        kinds = formats_of(formats)
        analysis = _analysis(out, margin=margin)
        written = write_figures(out, analysis=analysis, style=style, formats=kinds, columns=columns)
        remember(out, written)
        _print_paths(written)


@app.command()
def page(out: Out = Path("results"), margin: Margin = None) -> None:
    """Make the page again, from the records alone: report.html, all in one file.  Example: bench page --out results"""
    from bench.core.outputs import remember
    from bench.report.page.render import write_page

    with command_log(out, "page", arguments=sys.argv[1:]):
        written = write_page(out, analysis=_analysis(out, margin=margin))
        remember(out, [written])
        _print_paths([written])


@app.command()
def publish(
    to: Annotated[Path, typer.Argument(help="Folder to publish into. Example: bench publish results/published/mine")],
    out: Out = Path("results"),
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Only this one, by preset or hash. Example: --protocol standard")
    ] = None,
    margin: Margin = None,
) -> None:
    """Put all records into one file, with the tables, figures and page that are made from it.

    Anybody can make these again from that file: bench leaderboard --out FOLDER.

    Example:  bench publish results/published/mine --out results
    """
    from bench.core.outputs import remember
    from bench.core.record_bundle import write_bundle
    from bench.report.figures.write import write_figures
    from bench.report.page.render import PAGE, page_html
    from bench.report.tables.leaderboard import write_leaderboard

    with command_log(out, "publish", arguments=sys.argv[1:]):
        if to.resolve() == out.resolve():
            # The bundle would give every record a second time.
            raise UsageError(f"{to} is the results folder itself", fix="name another folder to publish into")
        source = _analysis(out, protocol=protocol)
        writable(to)
        written = [write_bundle([record for group in source.groups for record in group.records], to)]
        analysis = _analysis(to, margin=margin)
        # every trial as a row of its own is large, and made again by `bench leaderboard`
        written += write_leaderboard(to, analysis=analysis, tidy=False).written
        written += write_figures(to, analysis=analysis, formats=("pdf", "png"))
        # completions are with the runs, not in the bundle
        write_text_whole(to / PAGE, page_html(analysis, results=out, figures=to))
        written.append(to / PAGE)
        remember(to, written)
        _print_paths(written)


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="Example: bench reproduce ipo-bandit")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Results folder. Example: --out reproduced/ipo-bandit")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--publish", help="Folder for records and figure to pass on. Example: --publish published/flips"),
    ] = None,
) -> None:
    """Run a known result of the literature again on an enumerable problem and draw it; without a name, list them.

    Examples:  bench reproduce · bench reproduce ipo-bandit · bench reproduce overoptimisation · bench reproduce optima
    """
    from rich.console import Console
    from rich.text import Text

    from bench.core.outputs import remember
    from bench.core.record_bundle import write_bundle
    from bench.core.results import load_records
    from bench.report.figures.reproduced import write_reproduced
    from bench.utils.process import quiet_libraries

    quiet_libraries()
    from bench.models.matmul import take_route
    from bench.runner.reproduce import RESULTS
    from bench.runner.reproduce import reproduce as run_known

    console = Console()
    if name is None:
        _list_known()
        return
    if name not in RESULTS:
        raise UsageError(f"unknown known result {name!r}", fix=did_you_mean(name, tuple(RESULTS)))
    results = out or Path("reproduced") / name
    writable(results)
    take_route()
    known = RESULTS[name]
    with command_log(results, "reproduce", arguments=sys.argv[1:], make=True):
        run_known(known, results, console)
    console.print(Text(f"{known.title} ({known.paper})\n{known.claim}"))
    written = write_reproduced(name, results)
    remember(results, written)
    if to is not None:
        writable(to)
        published = [write_bundle(load_records(results), to), *write_reproduced(name, to, formats=("pdf", "png"))]
        remember(to, published)
        written += published
    _print_paths(written)


@app.command()
def verify(out: Out = Path("results")) -> None:
    """Hash everything that was written again; exit code 1 if anything changed.  Example: bench verify --out results"""
    from rich.console import Console

    from bench.core.results import verify_results

    with command_log(out, "verify", arguments=sys.argv[1:]):
        if not out.is_dir():
            raise UsageError(f"no results folder {out}", fix="name it with --out")
        problems = verify_results(out)
        for problem in problems:
            say(Console(stderr=True), for_terminal(str(problem)))
        if problems:
            raise RunError(
                f"{len(problems)} files were changed after they were written",
                fix="remove the folders (of tables and figures: the files) named above and run the same command again",
            )
        say(Console(), f"everything in {out} is as it was written")


def _list_known() -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bench.runner.reproduce import RESULTS

    table = Table("result", "what it says", "source", title="Known results", box=box.SIMPLE_HEAD)
    for key, known in RESULTS.items():
        table.add_row(key, Text(f"{known.title}\n{known.claim}"), known.paper)
    Console().print(table)


def _analysis(results: Path, *, protocol: str | None = None, margin: float | None = None) -> "Analysis":
    from bench.report.analysis.analysis import analyse_folder
    from bench.report.analysis.comparison import check_margin

    check_margin(margin)
    analysis = analyse_folder(results, protocol=protocol, margin=margin)
    if not analysis.records:
        raise UsageError(
            f"no finished run in {results}", fix="bench run --loss ipo --sweep beta, or name the folder: --out"
        )
    return analysis


def _print_paths(paths: Iterable[Path]) -> None:
    from rich.console import Console

    for path in paths:
        say(Console(), f"  {path}")
