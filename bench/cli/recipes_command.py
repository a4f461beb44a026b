"""The commands ``bench run --recipe`` and ``bench recipes``."""

import signal
import subprocess
import sys
from collections.abc import Sequence

from rich.console import Console

from bench.cli.execute import open_command, run_command
from bench.core.request import Request
from bench.errors import RunError, UsageError
from bench.runner.recipes.recipe import Options, Part, get_recipe, recipe_names
from bench.runner.recipes.requests import requests_of
from bench.runner.recipes.show import list_table, page, paper_lines, paper_table, say
from bench.utils.process import loading, quiet_libraries

INTERRUPTED = 130


def list_recipes() -> None:
    """``bench recipes``."""
    Console().print(list_table({name: get_recipe(name) for name in recipe_names()}))


def show_recipe(name: str) -> None:
    """``bench recipes show NAME``."""
    say(Console(), page(name, get_recipe(name)))


def recipe_command(
    name: str, typed: Options, base: Request, *, part: str | None, dry_run: bool, open_only: bool
) -> None:
    """``bench run --recipe NAME``: the recipe's parts one after another into the same results.

    Raises:
        UsageError: an unknown recipe or part, a part that cannot be right, or something missing that no hub brings.
        RunError: parts that failed; the others were done.
    """
    recipe = get_recipe(name)
    asked = requests_of(recipe, typed, base, part=part)
    if dry_run:
        _on_paper(name, asked)
        say(Console(), f"\nwhat to expect ({', '.join(recipe.source)}):\n{recipe.expect.strip()}")
        return
    _refuse_missing(asked)
    if open_only and len(asked) > 1:
        raise UsageError(
            f"--open opens one study, and the recipe has {len(asked)} parts",
            fix=f"--part {asked[0][0].name} --study NAME",
        )
    if open_only:
        open_command(asked[0][1])
    elif len(asked) == 1:
        run_command(asked[0][1], dry_run=False)
    else:
        _one_by_one([each.name for each, _ in asked])


def _on_paper(name: str, asked: Sequence[tuple[Part, Request]]) -> None:
    """Print each part's plan on paper; after it the measured one, where everything that it needs is here."""
    quiet_libraries()
    with loading():
        from bench.runner.plan import intent_of
        from bench.runner.recipes.missing import missing_of
        from bench.runner.recipes.paper import paper_of
    console = Console()
    for part, request in asked:
        intent = intent_of(request)
        missing = missing_of(intent)
        paper = paper_of(intent, part.estimate)
        console.print(paper_table(f"{name}, part {part.name}", intent, paper, part.estimate))
        for line in paper_lines(intent, paper, missing):
            say(console, line)
        if not missing:
            run_command(request, dry_run=True)


def _refuse_missing(asked: Sequence[tuple[Part, Request]]) -> None:
    """Raise UsageError before anything is trained, where a part cannot be right or lacks what no hub brings."""
    with loading():
        from bench.runner.plan import intent_of, searches_of
        from bench.runner.recipes.missing import missing_of

    lacking = []
    for part, request in asked:
        intent = intent_of(request)
        if len(request.data or ()) < 2:
            searches_of(intent, sets=())
        found = [str(each) for each in missing_of(intent) if not each.fetched]
        lacking += [f"part {part.name}: {', '.join(found)}"] if found else []
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
            fix="each said above what is wrong; the same command does only what is missing",
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
