"""Display of recipes: their list, one's page, and one's plan on paper."""

import shlex
from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from bench.runner.plan import Draft
from bench.runner.recipes.cost_estimate import GIGA, Paper, hours
from bench.runner.recipes.missing import Missing
from bench.runner.recipes.recipe import Estimate, Recipe
from bench.runner.search import points_text

MOST_POINTS = 12
"""As many settings of an objective as are written out."""


def list_table(recipes: dict[str, Recipe]) -> Table:
    """Return a table with one row a recipe."""
    table = Table("recipe", "what it is", "parts", title="Recipes", box=box.SIMPLE_HEAD)
    for name, recipe in recipes.items():
        table.add_row(name, Text(f"{recipe.title}\n{recipe.source[0]}"), str(len(recipe.part)))
    return table


def page(name: str, recipe: Recipe) -> str:
    """Return a recipe in words, with the commands that it stands for."""
    lines = [name, "", recipe.title, *recipe.source, "", recipe.asks.strip(), "", "Commands:"]
    for part in recipe.part:
        lines += ["", f"  {part.name}", f"    {shlex.join(part.command)}"]
    lines += [
        "",
        "What to expect:",
        "",
        recipe.expect.strip(),
        "",
        "What differs here:",
        "",
        recipe.differs.strip(),
        "",
    ]
    lines += [f"The plan, with its cost:  bench run --recipe {name} --dry-run"]
    return "\n".join(lines)


def paper_table(title: str, draft: Draft, paper: Paper, estimate: Estimate) -> Table:
    """Return the plan of one part on paper: a row an objective, the sum below."""
    table = Table(
        "objective",
        "settings",
        "runs",
        "steps",
        "policy\ntokens",
        "PFLOP\ntrain",
        "PFLOP\neval",
        "device\nh",
        box=box.SIMPLE_HEAD,
        title=f"On paper: {title}, suite {draft.suite.name}",
        caption=f"device h: of {estimate.device}, {estimate.share:.0%} of {estimate.peak:g} TFLOP/s, which is assumed; "
        f"{estimate.parameters:.3g} parameters, {estimate.pairs:,} pairs of {estimate.prompt} + 2 x {estimate.answer} "
        "tokens; judges not counted",
    )
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.justify, column.no_wrap = "right", True
    for row in paper.rows:
        points, more = row.points[:MOST_POINTS], len(row.points) - MOST_POINTS
        work = row.training + row.evaluation
        table.add_row(
            row.objective,
            points_text(points) + (f", … {len(row.points)} in all" if more > 0 else ""),
            f"{row.runs}",
            f"{row.steps:,}",
            f"{row.tokens:.3g}",
            f"{_work(row.training)}",
            f"{_work(row.evaluation)}",
            f"{hours(work, estimate):,.3g}",
        )
    table.add_row("once for all", "", "", "", "", "", f"{_work(paper.shared)}", f"{hours(paper.shared, estimate):,.3g}")
    table.add_section()
    runs, steps = sum(row.runs for row in paper.rows), sum(row.steps for row in paper.rows)
    tokens = sum(row.tokens for row in paper.rows)
    training = sum(row.training for row in paper.rows)
    rest = f"{_work(paper.work - training)}"
    sums = (f"{runs}", f"{steps:,}", f"{tokens:.3g}", f"{_work(training)}", rest)
    table.add_row("all", "", *sums, f"{hours(paper.work, estimate):,.3g}")
    return table


def paper_lines(draft: Draft, paper: Paper, missing: Sequence[Missing]) -> Iterator[str]:
    """Yield the lines below the table: memory, disk, and what is missing on this machine."""
    memory = paper.memory
    kinds = (
        ("weights and what trains them", memory.weights),
        ("layers in transit", memory.transit),
        ("activations", memory.activations),
        ("a chunk of the head", memory.head),
    )
    parts = ", ".join(f"{name} {value / GIGA:,.3g} GB" for name, value in kinds if value)
    yield f"memory of each of {draft.execution.processes} rank(s): {memory.total / GIGA:,.3g} GB ({parts})"
    yield "disk: " + ", ".join(f"{name} {value / GIGA:,.3g} GB" for name, value in paper.disk.items() if value)
    yield f"missing on this machine: {'; '.join(map(str, missing)) or 'nothing'}"


def _work(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
