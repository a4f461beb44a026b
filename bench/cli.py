"""Owns the command line: options, their help, and how errors are told. Heavy packages are imported by the commands."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bench.errors import BenchError

INTERRUPTED = 130
app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which preference-optimisation loss, at which β, is best for my model and data, and is the difference real?",
    epilog="Start with:  **bench run --loss ipo --sweep beta**",
)
suites_app = typer.Typer(help="List the suites, or build one's assets.", invoke_without_command=True)
losses_app = typer.Typer(help="List the objectives, or show one.", invoke_without_command=True)
app.add_typer(suites_app, name="suites")
app.add_typer(losses_app, name="losses")

Out = Annotated[Path, typer.Option("--out", help="Results folder. Example: --out results", show_default=True)]


@app.command()
def run(
    loss: Annotated[
        str,
        typer.Option(
            "--loss",
            help="Objectives, comma-separated; composed with +; your own by FILE.py:NAME; all. "
            "Example: --loss dpo,ipo,kto,sdpo or --loss dpo,dpo+nll",
        ),
    ],
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help="What to sweep: the objective's own space, or values; own is its main parameter. "
            "Example: --sweep beta, --sweep own,lr, --sweep beta=0.01,0.1,1",
        ),
    ] = None,
    suite: Annotated[
        str, typer.Option("--suite", help="What to train and score on. Example: --suite sentiment")
    ] = "sentiment",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Start model: a local folder, or run:KEY. Example: --model run:3f9c --model ./my-sft"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Preferences as JSONL, JSON or parquet. Example: --data prefs.jsonl"),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="What is searched, trials and seeds: quick, standard, paper. Example: --protocol standard",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Settings per objective. Example: --trials 9")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=0, help="Fresh seeds of the best setting, on test prompts. Example: --seeds 5"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any field of the spec. Example: --set beta=0.05 --set lr=1e-4 --set train.steps=100",
        ),
    ] = None,
    out: Out = Path("results"),
    study: Annotated[
        str | None, typer.Option("--study", help="Name of the Optuna study to open or join. Example: --study night")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", help="Optuna storage; default: a journal in --out. Example: --storage sqlite:///s.db"
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option("--sampler", help="grid, tpe or random. Example: --sampler tpe --trials 20")
    ] = "grid",
    workers: Annotated[
        str,
        typer.Option(
            "--workers", help="Processes that share the work; auto: as many as pay here. Example: --workers 2"
        ),
    ] = "auto",
    pruner: Annotated[
        str,
        typer.Option(
            "--pruner",
            help="What ends hopeless trials at a quarter and half of their steps: none, median, halving. "
            "Example: --pruner halving",
        ),
    ] = "none",
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Ranks of each training, by torchrun. Example: --processes 2")
    ] = 1,
    loss_file: Annotated[
        list[Path] | None,
        typer.Option("--loss-file", help="Python file with your own objective. Example: --loss-file my_loss.py"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Keep finished runs, or compute them again. Example: --no-resume"),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan with its cost and stop. Example: --dry-run")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Train objectives, sweep their parameters, score every checkpoint, and write leaderboard and figures.

    Finished work is never done twice: the same command again does only what is missing.

    Examples:

        bench run --loss ipo --sweep beta

        bench run --loss dpo,ipo,kto,sdpo --sweep beta --seeds 5

        bench run --loss all --suite exact --protocol standard

        bench run --loss "dpo,dpo+nll(0.2),0.8*dpo+0.2*bco_pair" --seeds 5

        bench run --loss dpo --model ./my-sft-model --data prefs.jsonl --set beta=0.05

        bench run --loss sft && bench run --loss dpo --sweep beta --model run:KEY
    """
    from bench.commands import run_command
    from bench.request import Request, worker_count
    from losses.grammar import split_expressions

    request = Request(
        losses=split_expressions(loss),
        sweep=sweep,
        suite=suite,
        model=model,
        data=data,
        protocol=protocol,
        trials=trials,
        seeds=seeds,
        settings=tuple(settings or ()),
        results=out,
        study=study,
        storage=storage,
        sampler=sampler,  # type: ignore[arg-type]  # the plan refuses other names, with a hint
        workers=worker_count(workers),
        processes=processes,
        resume=resume,
        loss_files=tuple(loss_file or ()),
        pruner=pruner,  # type: ignore[arg-type]  # likewise
    )
    run_command(request, dry_run=dry_run)


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
        from bench.commands import list_losses

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
    from bench.commands import show_loss as show

    show(name)


@suites_app.callback()
def suites(context: typer.Context) -> None:
    """List the suites.  Example: bench suites"""
    if context.invoked_subcommand is None:
        from bench.commands import list_suites

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
    from bench.commands import build_suite as build

    build(name, corpus=corpus, blimp=blimp, out=out)


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
    from bench.report_commands import make_leaderboard

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
    from bench.report_commands import make_figures

    make_figures(out, style=style, formats=formats, columns=columns)


@app.command()
def page(out: Out = Path("results")) -> None:
    """Make the page again, from the records alone: report.html, all in one file.  Example: bench page --out results"""
    from bench.report_commands import make_page

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
    from bench.report_commands import publish_results

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
    from bench.commands import reproduce_known

    reproduce_known(name, out, to=to)


@app.command()
def verify(out: Out = Path("results")) -> None:
    """Hash everything that was written again; exit code 1 if anything changed.  Example: bench verify --out results"""
    from bench.report_commands import verify_results

    verify_results(out)


def main() -> NoReturn:
    """Run the command line: one clear message instead of a traceback, exit code 2 (usage) or 1 (run)."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # how typer gives a KeyboardInterrupt back
            raise KeyboardInterrupt
    except BenchError as error:
        if debug:
            raise
        _tell(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell("stopped; the same command goes on from here")
        sys.exit(INTERRUPTED)
    except OSError as error:
        if debug:
            raise
        _tell(f"{error.strerror or error}: {error.filename or ''}\n  → free space, or give another folder: --out")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        code = getattr(error, "exit_code", None)
        if hasattr(error, "show"):
            error.show()
        else:
            _tell(f"{type(error).__name__}: {error}\n  → add --debug for the traceback")
        sys.exit(code if code is not None else 1)
    sys.exit(0)


def _tell(text: str) -> None:
    print(f"error: {text}" if not text.startswith("stopped") else text, file=sys.stderr)
