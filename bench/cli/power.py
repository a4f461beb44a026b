"""The command ``bench power``: what a table could have seen, and the cheapest way to see more."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import app
from bench.errors import UsageError
from bench.utils.console import say

if TYPE_CHECKING:
    from bench.report.analysis.settings import Group


@app.command()
def power(
    out: Annotated[
        Path, typer.Option("--results", "--out", help="Results folder, or a published one. Example: --results results")
    ] = Path("results"),
    detect: Annotated[
        float | None,
        typer.Option(
            "--detect", help="Difference to see, in the target's unit; default: margin. Example: --detect 0.2"
        ),
    ] = None,
    objectives: Annotated[
        str | None, typer.Option("--objectives", help="Compare only these. Example: --objectives dpo,ipo,apo_zero")
    ] = None,
    prompts: Annotated[
        int | None,
        typer.Option("--prompts", min=16, help="Test prompts that there are at most. Example: --prompts 512"),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="One protocol, by preset or hash. Example: --protocol standard")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Example: bench power --json")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row an objective. Example: --csv")] = False,
) -> None:
    """Show which differences a table could have seen, and the cheapest seeds × prompts × samples to see a wanted one.

    It reads the records of a table, or of a pilot of two test seeds or more, and writes nothing.

    Examples:  bench power · bench power --detect 0.2 --objectives dpo,ipo · bench power --results pilot --json
    """
    from bench.core.results import load_records
    from bench.report.analysis.power import group_power
    from bench.report.analysis.ranking import choose_groups
    from bench.report.tables.power import power_csv, power_table

    if detect is not None and not 0 < detect < float("inf"):
        raise UsageError(f"--detect must be above 0 (got {detect:g})", fix="for example --detect 0.1")
    if as_json and as_csv:
        raise UsageError("--json does not go with --csv", fix="leave out one of the two")
    groups = choose_groups(load_records(out), protocol=protocol)
    if not groups:
        raise UsageError(f"no finished run in {out}", fix="bench run --loss dpo,ipo --seeds 2, or name it: --results")
    names = [name.strip() for name in (objectives or "").split(",") if name.strip()]
    powers, refusals = [], []
    for group in groups:
        try:
            most = prompts if prompts is not None else _prompts_there(group)
            powers.append(group_power(group, detect=detect, objectives=names, most_prompts=most))
        except UsageError as error:
            refusals.append(error)
    if not powers:
        raise refusals[0]
    if as_json:
        print(json.dumps([one.as_json() for one in powers], indent=1, ensure_ascii=False))
        return
    if as_csv:
        print(power_csv(powers), end="")
        return
    from rich.console import Console

    for one in powers:
        Console().print(power_table(one))
    for refusal in refusals:
        say(Console(), f"left out: {refusal.problem}", style="yellow")


def _prompts_there(group: "Group") -> int | None:
    """Return how many test prompts a suite has of its own; None where they are the user's, or nobody counts them."""
    from bench.suites.pairs import load_prompts
    from bench.suites.settings import get_suite

    evaluation = next((record.evaluation for record in group.records if record.evaluation.split == "test"), None)
    if evaluation is None or evaluation.content is not None or evaluation.judges:
        return None
    if group.suite == "exact":
        # its contexts are a dial of the problem: others would be another problem
        return evaluation.prompts
    folder = get_suite(group.suite).folder / "data"
    return len(load_prompts(folder, "test")) if folder.is_dir() else None
