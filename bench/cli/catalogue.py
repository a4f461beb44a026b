"""The commands ``bench losses`` and ``bench suites``: list them, show one, build a suite's assets."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import app
from bench.errors import UsageError, did_you_mean
from bench.utils.console import say

if TYPE_CHECKING:
    from losses import Objective

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
    if context.invoked_subcommand is not None:
        return
    from bench.cli.objectives import NEEDS, row, select

    for name in needed or ():
        if name not in NEEDS:
            raise UsageError(f"--needs: unknown need {name!r}", fix=did_you_mean(name, tuple(NEEDS)))
    objectives = select(paired=paired, unpaired=unpaired, reference_free=reference_free, needed=needed or ())
    if as_json:
        print(json.dumps([row(objective) for objective in objectives], indent=1, ensure_ascii=False))
    else:
        _print_losses(objectives)


def _print_losses(objectives: "Sequence[Objective]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bench.cli.objectives import checked_against, data_kind, needs
    from losses.registry import problems

    # Text and not str: an equation's [z]+ would be read as markup.
    table = Table(title=f"{len(objectives)} objectives", box=box.SIMPLE_HEAD, expand=True)
    table.add_column("objective", no_wrap=True)
    table.add_column("loss", ratio=5)
    table.add_column("data, needs", ratio=3)
    table.add_column("parameter, default", ratio=3)
    table.add_column("checked against", ratio=2)
    for objective in objectives:
        params = "\n".join(f"{name} {param.default:g}" for name, param in objective.params.items())
        facts = ", ".join([data_kind(objective), *needs(objective)])
        cells = (objective.name, objective.equation, facts, params, checked_against(objective))
        table.add_row(*map(Text, cells))
    Console().print(table)
    for point, reason in problems().items():
        say(Console(stderr=True), f"broken: {point}: {reason}")


@losses_app.command("show")
def show_loss(name: Annotated[str, typer.Argument(help="Example: bench losses show ipo")]) -> None:
    """Show one objective: equation, source, parameters, and where other code differs."""
    from rich.console import Console

    from bench.cli.objectives import page
    from losses import get, names
    from losses.grammar import EXPRESSIONS, ExpressionError

    try:
        objective = get(name)
    except KeyError as error:
        raise UsageError(f"unknown loss {name!r}", fix=did_you_mean(name, names(), listed_by="bench losses")) from error
    except ExpressionError as error:
        raise UsageError(str(error), fix=EXPRESSIONS) from error
    say(Console(), page(objective))


@suites_app.callback()
def suites(context: typer.Context) -> None:
    """List the suites.  Example: bench suites"""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.table import Table

    from bench.suites.settings import get_suite, suite_names

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
    from rich.console import Console

    from bench.utils.process import quiet_libraries

    quiet_libraries()
    from bench.suites.build.sentiment import build_sentiment
    from bench.suites.settings import get_suite

    suite, console = get_suite(name), Console()
    if suite.gold_folder is None:
        raise UsageError(f"suite {name} has no assets to build", fix="bench suites build sentiment --corpus FOLDER")
    report = partial(console.print, highlight=False, markup=False)
    build_sentiment(corpus, out or suite.folder, blimp=blimp, report=report)
