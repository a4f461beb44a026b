"""The command line's root, and the options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from bench.utils.environment import STORAGE

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which preference-optimisation loss, at which β, is best for my model and data, and is the difference real?",
    epilog="Start with:  **bench run --loss ipo --sweep beta**",
)

Out = Annotated[Path, typer.Option("--out", help="Results folder. Example: --out results", show_default=True)]

Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar=STORAGE,
        show_envvar=True,
        help="Where the studies are; default: journals in --out. "
        "Example: --storage sqlite:///s.db, postgresql://USER@HOST/DB, journal:FILE",
    ),
]
Tracker = Annotated[
    str,
    typer.Option(
        "--tracker",
        help="What follows each training: tensorboard, any that accelerate knows, none. "
        "Example: --tracker wandb,tensorboard",
    ),
]
DataFormat = Annotated[
    str | None,
    typer.Option(
        "--data-format",
        help="The format of --data, if its columns do not tell: plain, hh, orca, alpaca, … (docs/data.md). "
        "Example: --data-format hh",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="Which columns of --data are ours: names, paths (answers.0.text), several (instruction+input). "
        "Example: --columns prompt=question,chosen=good,rejected=bad, or, where a column says which is better, "
        "--columns prompt=question,first=answer_a,second=answer_b,winner=vote",
    ),
]
Winner = Annotated[
    str | None,
    typer.Option(
        "--winner",
        help="What the values of the column winner mean: first, second, tie or none (docs/verdicts.md). "
        "Example: --winner A=first,B=second,tie=tie; of numbers by their sign: --winner negative=first,positive=second",
    ),
]
Questions = Annotated[
    Path | None,
    typer.Option("--questions", help="Instructions of answers that only number them. Example: --questions set.jsonl"),
]
Cache = Annotated[
    Path | None, typer.Option("--cache", help="Verdicts to use again; default: in --out. Example: --cache ~/verdicts")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what judges would cost and stop. Example: --dry-run")]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", help="Ask nothing if it may cost more. Example: --max-cost 20")
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        help="Differences below it do not matter, in the target's unit; default: the suite's. Example: --margin 0.05",
    ),
]
