"""Tables of power for a terminal, and as CSV: what could have been seen, its causes, and what more would cost."""

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.analysis.power import GroupPower, MixCost
from bench.report.tables.text import NOTHING
from bench.stats.power import MOST_SEEDS
from bench.stats.verdicts import POWER

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

COLUMNS = (
    "protocol", "suite", "objective", "seeds", "prompts", "first", "smallest_to_first", "seed_sd", "prompt_sd",
    "residual_sd", "detect", "cheapest_seeds", "cheapest_prompts", "cheapest_samples", "cheapest_trainings",
    "cheapest_hours",
)  # fmt: skip


def power_table(power: GroupPower) -> "RenderableType":
    """Return what a group's table could have seen by objective, the mixes for the wanted difference, and words."""
    from rich.console import Group as Together
    from rich.text import Text

    return Together(_objectives(power), Text(_seen_text(power)), Text(), _mixes(power), Text(_notes(power)), Text())


def power_csv(powers: Sequence[GroupPower]) -> str:
    """Return a row for each objective of each group; deviations are in the target's unit."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for power in powers:
        mix = power.cheapest
        plan = ("",) * 5 if mix is None else (mix.seeds, mix.prompts, mix.samples, mix.trainings, f"{mix.hours:.6g}")
        for name in power.arms:
            one = power.components[name]
            smallest = power.against_first.get(name)
            writer.writerow(
                [
                    *(power.protocol, power.suite, name, power.seeds, power.prompts, power.first),
                    "" if smallest is None else f"{smallest:.6g}",
                    *(f"{math.sqrt(each):.6g}" for each in (one.seed, one.prompt, one.residual)),
                    *(f"{power.detect:.6g}", *plan),
                ]
            )
    return file.getvalue()


def _objectives(power: GroupPower) -> "Table":
    title = (
        f"{power.suite}: {len(power.arms)} objectives × {power.seeds} seeds × {power.prompts} prompts{_times(power)}\n"
        f"{power.preset or 'protocol'} {power.protocol[:12]}"
    )
    table = _table(title)
    table.add_column("objective", overflow="fold")
    for heading in (f"smallest difference\nto {power.first} [{power.unit}]", "seeds", "prompts", "residual"):
        table.add_column(heading, justify="right")
    ordered = [power.first, *power.against_first]
    for name in ordered:
        one = power.components[name]
        smallest = power.against_first.get(name)
        table.add_row(
            name,
            NOTHING if smallest is None else _number(smallest),
            *(f"{math.sqrt(each):.2f}" for each in (one.seed, one.prompt, one.residual)),
        )
    return table


def _seen_text(power: GroupPower) -> str:
    low, middle, high = map(_number, power.quartiles)
    return (
        f"Differences of ≥ {middle} {power.unit} could be seen (half of the pairs; quartiles {low} and "
        f"{high}): with {POWER:.0%} power, all pairs as one family.\n"
        "seeds, prompts, residual: standard deviations of an objective's scores by cause, after what all share."
    )


def _mixes(power: GroupPower) -> "Table":
    table = _table(f"To see differences of {power.detect:g} {power.unit} with {POWER:.0%} power")
    table.add_column("mix")
    for heading in ("seeds", "prompts", "samples", "trainings", "of them new", "device hours"):
        table.add_column(heading, justify="right")
    high = math.sqrt(power.seed_range[1] / 2)
    rows = (
        ("cheapest", power.cheapest),
        ("prompts as now", power.as_now),
        (f"cheapest, if seeds deviate by {high:.2g}", power.unlucky),
    )
    for name, mix in rows:
        table.add_row(name, *_mix_cells(mix), style="bold" if name == "cheapest" else None)
    return table


def _mix_cells(mix: MixCost | None) -> list[str]:
    if mix is None:
        return [NOTHING] * 6
    numbers = (mix.seeds, mix.prompts, mix.samples, mix.trainings, mix.more_trainings)
    return [*(f"{number:,}" for number in numbers), f"{mix.hours:.3g}"]


def _notes(power: GroupPower) -> str:
    typical, low_high = math.sqrt(power.typical.seed / 2), [math.sqrt(side / 2) for side in power.seed_range]
    lines = [
        f"seeds deviate by {typical:.2g} (90 % interval {low_high[0]:.2g} to {low_high[1]:.2g}); up to "
        f"{power.most_prompts:,} prompts and {MOST_SEEDS} seeds were tried"
    ]
    if power.cheapest is None and power.least_prompts > power.most_prompts:
        lines.append(
            f"⚠ new prompts alone make this difference uncertain: it takes {power.least_prompts:,} prompts or more, "
            "with any number of seeds"
        )
    if power.cheapest is not None and power.cheapest.prompts > power.prompts:
        lines.append("more prompts need no new trainings: --set evaluation.prompts=N scores the same runs again")
    if not power.typical.residual_noise:
        lines.append(
            "what more samples of a prompt save is not known from one: --set evaluation.samples=2 in a pilot tells it"
        )
    equal = ", ".join(
        f"{_seeds(power.equal[key])} where the true difference is {words}"
        for key, words in (("none", "0"), ("half", f"{power.detect / 2:g}"))
    )
    lines.append(f"equal within {power.detect:g} {power.unit}: {equal}")
    cost = f"a run: {power.costs.training:.3g} s of training, {power.costs.sample:.2g} s a prompt"
    if power.costs.evaluation:
        cost += f", {power.costs.evaluation:.2g} s of tasks"
    if power.whole_evaluations:
        cost += " (tasks counted in: no evaluation here is without them)"
    return "\n".join([*lines, cost])


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _times(power: GroupPower) -> str:
    return "" if power.samples == 1 else f" × {power.samples} samples"


def _seeds(count: int | None) -> str:
    return f"more than {MOST_SEEDS} seeds" if count is None else f"{count} seeds"


def _table(title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=title, title_style="bold", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
