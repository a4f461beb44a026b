"""Output of ``bench losses`` and ``bench suites``."""

import json
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.errors import UsageError, did_you_mean
from bench.utils.process import quiet_libraries


def list_losses(*, paired: bool, unpaired: bool, reference_free: bool, needed: list[str], as_json: bool) -> None:
    """``bench losses``."""
    from bench.cli.objectives import NEEDS, checked_against, data_kind, needs, row, select
    from losses.registry import problems

    for name in needed:
        if name not in NEEDS:
            raise UsageError(f"--needs {name!r}: no objective needs that", fix=did_you_mean(name, tuple(NEEDS)))
    objectives = select(paired=paired, unpaired=unpaired, reference_free=reference_free, needed=needed)
    if as_json:
        print(json.dumps([row(objective) for objective in objectives], indent=1, ensure_ascii=False))
        return
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
        Console(stderr=True).print(f"broken: {point}: {reason}", highlight=False, markup=False, soft_wrap=True)


def show_loss(name: str) -> None:
    """``bench losses show NAME``."""
    from bench.cli.objectives import page
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
