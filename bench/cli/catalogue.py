"""Options of ``bench losses`` and ``bench suites``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app

suites_app = typer.Typer(help="List the suites, or build one's assets.", invoke_without_command=True)
losses_app = typer.Typer(help="List the objectives, or show one.", invoke_without_command=True)
app.add_typer(suites_app, name="suites")
app.add_typer(losses_app, name="losses")


@losses_app.callback()
def losses(
    context: typer.Context,
    paired: Annotated[bool, typer.Option("--paired", help="Those on pairs. Example: bench losses --paired")] = False,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Those on single completions. Example: bench losses --unpaired")
    ] = False,
    reference_free: Annotated[
        bool, typer.Option("--reference-free", help="Those without reference. Example: bench losses --reference-free")
    ] = False,
    needed: Annotated[
        list[str] | None,
        typer.Option(
            "--needs",
            help="Those that need reference, tokens, vocabulary, kl_baseline, whole_batch or scores. "
            "Example: --needs scores",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Example: bench losses --json")] = False,
) -> None:
    """List the objectives: equation, data, needs, parameters and their search spaces.

    Examples:  bench losses · bench losses --reference-free · bench losses show ipo · bench losses show "dpo+nll(0.2)"
    """
    if context.invoked_subcommand is None:
        from bench.cli.catalogue_command import list_losses

        list_losses(
            paired=paired,
            unpaired=unpaired,
            reference_free=reference_free,
            needed=needed or [],
            as_json=as_json,
        )


@losses_app.command("show")
def show_loss(name: Annotated[str, typer.Argument(help="Example: bench losses show ipo")]) -> None:
    """Show one objective: equation, source, parameters, and where other code differs."""
    from bench.cli.catalogue_command import show_loss as show

    show(name)


@suites_app.callback()
def suites(context: typer.Context) -> None:
    """List the suites.  Example: bench suites"""
    if context.invoked_subcommand is None:
        from bench.cli.catalogue_command import list_suites

        list_suites()


@suites_app.command("build")
def build_suite(
    name: Annotated[str, typer.Argument(help="Example: bench suites build sentiment --corpus imdb")],
    corpus: Annotated[Path, typer.Option("--corpus", help="Folder with the raw data. Example: --corpus imdb")],
    blimp: Annotated[
        Path | None,
        typer.Option("--blimp", help="BLiMP; default: in --corpus. Example: --blimp blimp.jsonl.tar.gz"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where the assets go; default: the installed suite. Example: --out assets"),
    ] = None,
) -> None:
    """Make a suite's assets again from the raw corpus: tokenizer, start model, gold reward, prompts and pairs."""
    from bench.cli.catalogue_command import build_suite as build

    build(name, corpus=corpus, blimp=blimp, out=out)
