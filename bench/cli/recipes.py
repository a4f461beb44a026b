"""The command ``bench recipes``, and the recipes of ``bench run --recipe``."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import app
from bench.errors import INTERRUPTED, RunError, UsageError
from bench.utils.console import say

if TYPE_CHECKING:
    from bench.core.request import RunRequest
    from bench.runner.recipes.recipe import Part

recipes_app = typer.Typer(help="List the recipes, or show one.", invoke_without_command=True)
app.add_typer(recipes_app, name="recipes")


@recipes_app.callback()
def recipes(context: typer.Context) -> None:
    """List the recipes: published experiments that `bench run --recipe NAME` runs again.

    Examples:  bench recipes · bench recipes show hf-blog · bench run --recipe hf-blog --dry-run
    """
    if context.invoked_subcommand is None:
        from rich.console import Console

        from bench.runner.recipes.recipe import get_recipe, recipe_names
        from bench.runner.recipes.show import list_table

        Console().print(list_table({name: get_recipe(name) for name in recipe_names()}))


@recipes_app.command("show")
def show_recipe(name: Annotated[str, typer.Argument(help="Example: bench recipes show simpo-table")]) -> None:
    """Show one recipe: its commands, what was published, and what differs here.  Example: bench recipes show hf-blog"""
    from rich.console import Console

    from bench.runner.recipes.recipe import get_recipe
    from bench.runner.recipes.show import page

    say(Console(), page(name, get_recipe(name)))


def run_recipe(name: str, typed: "RunRequest", *, part: str | None, dry_run: bool, open_only: bool) -> None:
    """Run a recipe's parts one after another into the same results, for ``bench run --recipe``.

    Args:
        typed: the options of the command line, which replace the recipe's.

    Raises:
        UsageError: an unknown recipe or part, a part that cannot be right, or something missing that no hub has.
        RunError: parts that failed; the others were done.
    """
    from bench.cli.execute import open_command, run_command
    from bench.runner.recipes.recipe import get_recipe

    recipe = get_recipe(name)
    requests = recipe.requests(typed, part=part)
    if dry_run:
        _on_paper(name, requests)
        from rich.console import Console

        say(Console(), f"\nwhat to expect ({', '.join(recipe.source)}):\n{recipe.expect.strip()}")
        return
    _refuse_missing(requests)
    if open_only and len(requests) > 1:
        raise UsageError(
            f"--open opens one study, and the recipe has {len(requests)} parts",
            fix=f"--part {requests[0][0].name} --study NAME",
        )
    if open_only:
        open_command(requests[0][1])
    elif len(requests) == 1:
        run_command(requests[0][1], dry_run=False)
    else:
        _one_by_one([each.name for each, _ in requests])


def _on_paper(name: str, requests: Sequence[tuple["Part", "RunRequest"]]) -> None:
    """Print each part's plan on paper; after it the measured one, where everything that it needs is here."""
    from rich.console import Console

    from bench.cli.execute import run_command
    from bench.utils.process import loading, quiet_libraries

    quiet_libraries()
    with loading():
        from bench.runner.plan import draft_plan
        from bench.runner.recipes.cost_estimate import paper_of
        from bench.runner.recipes.missing import missing_of
        from bench.runner.recipes.show import paper_lines, paper_table
    console = Console()
    for part, request in requests:
        draft = draft_plan(request)
        missing = missing_of(draft)
        paper = paper_of(draft, part.estimate)
        console.print(paper_table(f"{name}, part {part.name}", draft, paper, part.estimate))
        for line in paper_lines(draft, paper, missing):
            say(console, line)
        if not missing:
            run_command(request, dry_run=True)


def _refuse_missing(requests: Sequence[tuple["Part", "RunRequest"]]) -> None:
    """Raise UsageError before anything is trained, where a part cannot be right or lacks something that no hub has."""
    from bench.utils.process import loading

    with loading():
        from bench.runner.plan import draft_plan, searches_of
        from bench.runner.recipes.missing import missing_of

    lacking = []
    for part, request in requests:
        draft = draft_plan(request)
        if len(request.data or ()) < 2:
            searches_of(draft, sets=())
        names = [str(each) for each in missing_of(draft) if not each.fetched]
        lacking += [f"part {part.name}: {', '.join(names)}"] if names else []
    if lacking:
        raise UsageError(
            f"the recipe needs what is missing here: {'; '.join(lacking)}",
            fix="its page in docs/recipes says how to make it; or give your own: --model, --data, --judge, --prompts",
        )


def _one_by_one(parts: Sequence[str]) -> None:
    """Run this very command once a part, each in a process of its own, which gives all its memory back.

    Raises:
        RunError: at the end, where some failed. KeyboardInterrupt: one was stopped.
    """
    from rich.console import Console

    console, failed = Console(), []
    for number, part in enumerate(parts, start=1):
        say(console, f"part {number} of {len(parts)}: {part}")
        code = _wait(subprocess.Popen([sys.executable, "-m", "bench", *sys.argv[1:], "--part", part]))
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            failed.append(part)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(parts)} parts failed: {', '.join(failed)}",
            fix="the output above says why; the same command does only what is missing",
        )


def _wait(child: "subprocess.Popen[bytes]") -> int:
    """Return a child's exit code. Ctrl-C reaches it from the terminal, SIGTERM is passed on: it saves and stops."""
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, before)
