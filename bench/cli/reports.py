"""The options of the commands that read records: leaderboard, figures, page, publish, reproduce, verify."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Out, app
from bench.utils.event_log import command_log


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
) -> None:
    """Make the leaderboard again, from the records alone: CSV with every trial, Markdown, LaTeX.

    Examples:  bench leaderboard --out results · bench leaderboard --protocol standard --format tex
    """
    from bench.cli.report_commands import make_leaderboard

    with command_log(out, "leaderboard", arguments=sys.argv[1:]):
        make_leaderboard(out, protocol=protocol, formats=[name.strip() for name in formats.split(",")])


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
) -> None:
    """Draw the figures again, from the records alone, each with its plotted numbers as CSV.

    Fonts are embedded, colours hold for colour-blind readers, and an objective has one colour in every figure.

    Examples:  bench figures · bench figures --style slides --formats png · bench figures --formats pdf --columns 1
    """
    from bench.cli.report_commands import make_figures

    with command_log(out, "figures", arguments=sys.argv[1:]):
        make_figures(out, style=style, formats=formats, columns=columns)


@app.command()
def page(out: Out = Path("results")) -> None:
    """Make the page again, from the records alone: report.html, all in one file.  Example: bench page --out results"""
    from bench.cli.report_commands import make_page

    with command_log(out, "page", arguments=sys.argv[1:]):
        make_page(out)


@app.command()
def publish(
    to: Annotated[Path, typer.Argument(help="Folder to publish into. Example: bench publish results/published/mine")],
    out: Out = Path("results"),
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Only this one, by preset or hash. Example: --protocol standard")
    ] = None,
) -> None:
    """Put all records into one file, with the tables, figures and page that are made from it.

    Anybody can make these again from that file: bench leaderboard --out FOLDER.

    Example:  bench publish results/published/mine --out results
    """
    from bench.cli.report_commands import publish_results

    with command_log(out, "publish", arguments=sys.argv[1:]):
        publish_results(out, to, protocol=protocol)


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
    from bench.cli.report_commands import reproduce_known

    reproduce_known(name, out, to=to)


@app.command()
def verify(out: Out = Path("results")) -> None:
    """Hash everything that was written again; exit code 1 if anything changed.  Example: bench verify --out results"""
    from bench.cli.report_commands import verify_results

    with command_log(out, "verify", arguments=sys.argv[1:]):
        verify_results(out)
